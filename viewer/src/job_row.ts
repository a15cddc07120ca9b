/** One job in the list. Its elements stay while it goes on, so that a click or the focus is not lost to an event. */

import { button, el, progressBar } from './dom'
import { duration, moment } from './measure'
import { failure } from './error_messages'
import { inFull, inShort } from './parameters'
import { JOB, QUEUE } from './strings'
import { isFinal, type JobView, type SlideInfo } from './types'

export const WORDS: Record<JobView['state'], string> = {
  queued: QUEUE.queued,
  planning: JOB.planning,
  running: JOB.running,
  finishing: JOB.finishing,
  succeeded: JOB.succeeded,
  failed: JOB.failed,
  canceled: JOB.canceled,
}

/** What can be done with a job. `again` takes its region for the next one; `end` cancels one that goes on and deletes one that has ended; false: it did not. */
export interface JobActions {
  choose: () => void
  again: () => void
  end: () => Promise<boolean>
}

export class JobRow {
  readonly item: HTMLLIElement
  readonly #choose: HTMLButtonElement
  readonly #end: HTMLButtonElement
  readonly #bar = progressBar(null, JOB.progress)
  readonly #text = el('div')
  readonly #parameters = el('div')

  constructor(
    job: JobView,
    private readonly slide: SlideInfo,
    actions: JobActions,
  ) {
    this.#choose = button('', actions.choose)
    this.#choose.className = 'choose'
    const lines = [moment(job.created_at), inShort(job, slide)].map((textContent) => el('small', { textContent }))
    this.#choose.append(el('span', {}, el('strong', { textContent: job.request.model }), ...lines))
    const again = job.request.roi === null ? null : button(JOB.again, actions.again)
    const more = el('details', {}, el('summary', { textContent: JOB.parameters }), this.#parameters, again)
    this.#end = button('', () => void this.#ending(actions.end))
    this.item = el('li', {}, this.#choose, this.#end, this.#bar, this.#text, more)
    this.mark(false)
    this.show(job)
  }

  /** Mark the job as the one that is looked at, or not. */
  mark(isChosen: boolean): void {
    this.#choose.setAttribute('aria-pressed', String(isChosen))
  }

  /** Write where the job stands. */
  show(job: JobView): void {
    const hasEnded = isFinal(job.state)
    if (this.item.dataset['state'] !== job.state) {
      this.item.dataset['state'] = job.state
      this.#end.textContent = hasEnded ? '×' : JOB.cancel
      this.#end.setAttribute('aria-label', (hasEnded ? JOB.deleteOf : JOB.cancelOf)(moment(job.created_at)))
      if (hasEnded) this.#end.disabled = false
    }
    this.#parameters.replaceChildren(inFull(job, this.slide))
    this.#bar.hidden = hasEnded
    const known = job.state === 'running' && job.regions_total
    if (known) this.#bar.value = job.regions_done / known
    else this.#bar.removeAttribute('value')
    if (job.state === 'failed') this.#text.replaceChildren(...failure(job.error, this.slide.filename))
    else this.#text.textContent = wordsFor(job)
  }

  /** A second click while the first is on its way would delete what the first has canceled. */
  async #ending(end: () => Promise<boolean>): Promise<void> {
    const state = this.item.dataset['state']
    this.#end.disabled = true
    const isDone = await end()
    if (!isDone || state !== this.item.dataset['state']) this.#end.disabled = false
  }
}

/** Return how far a job is. */
function wordsFor(job: JobView): string {
  if (job.state === 'queued') return wordsWhileWaiting(job)
  const words = [
    job.state === 'finishing' && job.phase ? JOB.writes(job.phase) : WORDS[job.state],
    job.state === 'running' && job.regions_total !== null ? JOB.regions(job.regions_done, job.regions_total) : '',
    job.warnings.length > 0 ? JOB.count(job.warnings.length) : '',
    job.state === 'running' && job.eta_s !== null ? JOB.left(duration(job.eta_s)) : '',
  ]
  return words.filter(Boolean).join(' · ')
}

/** Return which place it has among those that wait, when its turn comes, and how long it takes then. */
function wordsWhileWaiting({ waiting, preflight }: JobView): string {
  const words = [
    QUEUE.queued,
    waiting ? QUEUE.place(waiting.place) : '',
    waiting?.starts_in_s != null ? QUEUE.starts(duration(waiting.starts_in_s)) : '',
    preflight?.estimated_s != null ? QUEUE.takes(duration(preflight.estimated_s)) : '',
    preflight?.notice ? QUEUE.slow : '',
  ]
  return words.filter(Boolean).join(' · ')
}
