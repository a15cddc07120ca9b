/** The jobs of the slide that is shown: how far they are, and which one's result is looked at. */

import { getJson, remove } from './api'
import { button, byId, el, progressBar } from './dom'
import { followJob } from './follow'
import { duration, moment } from './measure'
import { report } from './notices'
import { isFinal, isVisible, type JobView, type Page } from './types'
import { failure } from './words'

const PAGE = 50

const WORDS: Record<JobView['state'], string> = {
  queued: 'Waits for a worker',
  planning: 'Looks for tissue',
  running: 'Segments',
  finishing: 'Writes results',
  succeeded: 'Finished',
  failed: 'Failed',
  canceled: 'Canceled',
}

export class JobList {
  readonly #list = byId('jobs', HTMLUListElement)
  readonly #empty = byId('no-jobs', HTMLElement)
  readonly #jobs = new Map<string, JobView>()
  #following = new AbortController()
  #chosen: string | null = null

  /** `onChoose` is told the job of which something is to be shown, and again whenever there is more of it. */
  constructor(private readonly onChoose: (job: JobView | null) => void) {}

  /** List the jobs of a slide; shows `wanted`, or else the newest of which there is something to see. */
  async show(slideId: string | null, wanted: string | null): Promise<void> {
    this.#following.abort()
    this.#following = new AbortController()
    const { signal } = this.#following
    this.#jobs.clear()
    this.#list.replaceChildren()
    this.choose(null)
    if (slideId === null) return
    const { items } = await getJson<Page<JobView>>(`/v1/jobs?slide=${slideId}&limit=${PAGE}`)
    if (signal.aborted) return
    for (const job of items) this.#add(job, false)
    const first = items.find(({ id }) => id === wanted) ?? items.find(isVisible)
    if (first) this.choose(first.id)
    this.#empty.hidden = items.length > 0
  }

  /** Add a job that was just submitted; its result is shown when it comes. */
  add(job: JobView): void {
    this.#add(job, true)
    this.choose(job.id)
    this.#empty.hidden = true
  }

  choose(jobId: string | null): void {
    this.#chosen = jobId
    for (const item of this.#list.querySelectorAll<HTMLButtonElement>('button.choose')) {
      item.setAttribute('aria-pressed', String(item.dataset['id'] === jobId))
    }
    const job = jobId === null ? undefined : this.#jobs.get(jobId)
    this.onChoose(job && isVisible(job) ? job : null)
  }

  #add(job: JobView, isFirst: boolean): void {
    const item = el('li')
    this.#jobs.set(job.id, job)
    this.#draw(item, job)
    if (isFirst) this.#list.prepend(item)
    else this.#list.append(item)
    if (isFinal(job.state)) return
    const update = (changed: JobView): void => {
      const before = this.#jobs.get(job.id) ?? changed
      this.#jobs.set(job.id, changed)
      this.#draw(item, changed)
      if (before.state !== changed.state) this.#announce(changed)
      const hasMore = before.state !== changed.state || before.regions_done !== changed.regions_done
      if (hasMore && this.#chosen === job.id) this.onChoose(isVisible(changed) ? changed : null)
    }
    followJob(job, update, this.#following.signal).catch(() => item.remove()) // it was deleted meanwhile
  }

  /** Let screen readers say that a job has begun or ended. */
  #announce(job: JobView): void {
    if (job.state !== 'running' && !isFinal(job.state)) return
    byId('status', HTMLElement).textContent = `${job.request.model}: ${WORDS[job.state]}`
  }

  #draw(item: HTMLLIElement, job: JobView): void {
    const hadFocus = item.contains(document.activeElement)
    const choose = button('', () => this.choose(job.id))
    choose.className = 'choose'
    choose.dataset['id'] = job.id
    choose.setAttribute('aria-pressed', String(this.#chosen === job.id))
    choose.append(el('span', {}, el('strong', { textContent: job.request.model }), el('small', { textContent: moment(job.created_at) })))
    const end = isFinal(job.state)
      ? button('×', () => void this.#delete(item, job), `Delete job of ${moment(job.created_at)}`)
      : button('Cancel', () => void remove(`/v1/jobs/${job.id}`).catch(report), `Cancel job of ${moment(job.created_at)}`)
    item.replaceChildren(choose, end, ...progressOf(job))
    item.dataset['state'] = job.state
    if (hadFocus) choose.focus()
  }

  async #delete(item: HTMLLIElement, job: JobView): Promise<void> {
    if (!confirm('Delete this job and its results from the server?')) return
    try {
      await remove(`/v1/jobs/${job.id}`)
      item.remove()
      this.#jobs.delete(job.id)
      this.#empty.hidden = this.#jobs.size > 0
      if (this.#chosen === job.id) this.choose(null)
    } catch (error) {
      report(error)
    }
  }
}

/** Return how far a job is, in words and as a bar, or why it failed. */
function progressOf(job: JobView): HTMLElement[] {
  if (job.state === 'failed') return failure(job.error)
  const words = [
    job.state === 'finishing' && job.phase ? `Writes ${job.phase}` : WORDS[job.state],
    job.state === 'running' && job.regions_total !== null ? `${job.regions_done} of ${job.regions_total} regions` : '',
    job.state === 'running' && job.eta_s !== null ? `about ${duration(job.eta_s)} left` : '',
  ]
  const text = el('p', { textContent: words.filter(Boolean).join(' · ') })
  if (isFinal(job.state)) return [text]
  const known = job.state === 'running' && job.regions_total
  return [progressBar(known ? job.regions_done / known : null, 'Progress of the job'), text]
}
