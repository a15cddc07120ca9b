/** The jobs of the slide that is shown: how far they are, and which one's result is looked at. */

import { findJson, getJson, Refused, remove } from './api'
import { byId, pause } from './dom'
import { followJob } from './follow'
import { JobRow, WORDS } from './job_row'
import { announce, report } from './notices'
import { JOB } from './strings'
import { isFinal, isVisible, type JobView, type Page, type SlideInfo } from './types'

const PAGE = 50
const POLL_MS = 5000
/** So many jobs that wait are asked for their places each time, those that come first. */
const PLACES_ASKED = 10

interface Entry {
  job: JobView
  row: JobRow
}

/**
 * The chosen job is followed by its events, the others by asking now and then: a browser opens six connections to a
 * server at once, and a stream of events holds one.
 */
export class JobList {
  readonly #list = byId('jobs', HTMLUListElement)
  readonly #empty = byId('no-jobs', HTMLElement)
  readonly #entries = new Map<string, Entry>()
  #slide: SlideInfo | null = null
  /** Ends what belongs to the slide. */
  #shown = new AbortController()
  /** Ends the events of the chosen job. */
  #stream = new AbortController()
  #chosen: string | null = null

  /**
   * `onMark` is told the chosen job, `onChoose` the job of which something is to be shown, and again whenever there is
   * more of it. `onAgain` is told a job whose region is wanted for the next one,
   * `onState` that a job has come, has gone or stands elsewhere.
   */
  constructor(
    private readonly onChoose: (job: JobView | null) => void,
    private readonly onMark: (job: JobView | null) => void,
    private readonly onAgain: (job: JobView) => void,
    private readonly onState: () => void,
  ) {}

  /** Show no jobs, and nothing of any. */
  clear(): void {
    this.#shown.abort()
    this.#shown = new AbortController()
    this.#slide = null
    this.#entries.clear()
    this.#list.replaceChildren()
    this.#empty.hidden = true
    this.choose(null)
  }

  /** Whether nothing has been segmented on the slide. */
  isEmpty(): boolean {
    return this.#entries.size === 0
  }

  /** List the jobs of a slide; shows `wanted`, or else the newest of which there is something to see. */
  async show(slide: SlideInfo, wanted: string | null): Promise<void> {
    this.clear()
    this.#slide = slide
    const { signal } = this.#shown
    const items = await this.#fetch(slide)
    if (signal.aborted) return
    // A job may have been submitted meanwhile: it has its row, and is the one to be looked at.
    for (const job of items) if (!this.#entries.has(job.id)) this.#list.append(this.#made(job, slide).item)
    this.#empty.hidden = this.#entries.size > 0
    void this.#poll(slide, signal)
    void this.#askPlaces(signal)
    if (this.#chosen !== null) return
    if (wanted !== null) await this.open(wanted)
    else this.choose((items.find(isVisible) ?? items.find(({ state }) => !isFinal(state)))?.id ?? null)
  }

  /** Choose a job by its id, also one that is too old for the list. Tells it if there is none on this slide. */
  async open(jobId: string): Promise<void> {
    const slide = this.#slide
    if (slide !== null && !this.#entries.has(jobId)) {
      const { signal } = this.#shown
      const job = await findJson<JobView>(`/v1/jobs/${jobId}`)
      if (signal.aborted) return
      if (job?.request.slide_id !== slide.id) {
        report(new Error(JOB.gone))
        this.choose(null)
        return
      }
      if (!this.#entries.has(jobId)) this.#list.append(this.#made(job, slide).item)
      this.#empty.hidden = true
    }
    this.choose(jobId)
  }

  /** Add a job that was just submitted on the slide that is shown; its result is shown when it comes. */
  add(job: JobView): void {
    if (job.request.slide_id !== this.#slide?.id) return // another slide was opened before the answer came
    if (!this.#entries.has(job.id)) this.#list.prepend(this.#made(job, this.#slide).item)
    this.#empty.hidden = true
    this.choose(job.id)
    this.onState()
    void this.#askPlaces(this.#shown.signal)
  }

  choose(jobId: string | null): void {
    this.#stream.abort()
    this.#stream = new AbortController()
    this.#chosen = jobId
    for (const [id, { row }] of this.#entries) row.mark(id === jobId)
    const job = jobId === null ? undefined : this.#entries.get(jobId)?.job
    this.onMark(job ?? null)
    this.onChoose(job && isVisible(job) ? job : null)
    if (job && !isFinal(job.state)) void this.#follow(job, this.#stream.signal)
  }

  async #fetch(slide: SlideInfo): Promise<JobView[]> {
    return (await getJson<Page<JobView>>(`/v1/jobs?slide=${slide.id}&limit=${PAGE}`)).items
  }

  #made(job: JobView, slide: SlideInfo): JobRow {
    const actions = { choose: () => this.choose(job.id), again: () => this.onAgain(job), end: () => this.#end(job.id) }
    const row = new JobRow(job, slide, actions)
    this.#entries.set(job.id, { job, row })
    return row
  }

  async #follow(job: JobView, signal: AbortSignal): Promise<void> {
    try {
      await followJob(job, (changed) => this.#update(changed), signal)
    } catch (error) {
      // Without a key there is nothing to follow; with a new one the slide is opened anew.
      if (error instanceof Refused && error.status === 404) this.#drop(job.id)
    }
  }

  /** Ask for the jobs that nobody looks at, as long as one of them has not ended. */
  async #poll(slide: SlideInfo, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(POLL_MS)
      void this.#askPlaces(signal)
      const unfinished = [...this.#entries.values()].filter(({ job }) => !isFinal(job.state) && job.id !== this.#chosen)
      if (signal.aborted || unfinished.length === 0) continue
      try {
        const items = new Map((await this.#fetch(slide)).map((job) => [job.id, job]))
        if (!signal.aborted) for (const { job } of unfinished) this.#renew(job.id, items)
      } catch (error) {
        if (!(error instanceof Refused && error.mayPass())) return
      }
    }
  }

  /** Ask for the places of those that wait: neither lists nor events tell them. */
  async #askPlaces(signal: AbortSignal): Promise<void> {
    const queued = [...this.#entries.values()].filter(({ job }) => job.state === 'queued')
    for (const { job } of queued.slice(-PLACES_ASKED)) {
      const told = await findJson<JobView>(`/v1/jobs/${job.id}`).catch(() => null)
      const known = this.#entries.get(job.id)?.job
      if (signal.aborted) return
      if (told?.state === 'queued' && known?.state === 'queued') this.#update({ ...known, waiting: told.waiting ?? null })
    }
  }

  #renew(jobId: string, items: Map<string, JobView>): void {
    const job = items.get(jobId)
    if (jobId === this.#chosen) return // its events know better
    if (job !== undefined) this.#update(job)
    else if (items.size < PAGE) this.#drop(jobId) // it was deleted meanwhile
  }

  #update(job: JobView): void {
    const entry = this.#entries.get(job.id)
    if (entry === undefined) return
    const before = entry.job
    entry.job = job
    entry.row.show(job)
    const isOther = before.state !== job.state
    if (isOther) this.onState()
    if (isOther && (job.state === 'running' || isFinal(job.state))) announce(`${job.request.model}: ${WORDS[job.state]}`)
    const hasMore = isOther || before.regions_done !== job.regions_done
    if (hasMore && this.#chosen === job.id) this.onChoose(isVisible(job) ? job : null)
  }

  async #end(jobId: string): Promise<boolean> {
    const job = this.#entries.get(jobId)?.job
    if (job === undefined) return false
    const hasEnded = isFinal(job.state)
    if (hasEnded && !confirm(JOB.confirm)) return false
    try {
      await remove(`/v1/jobs/${jobId}`)
    } catch (error) {
      report(error)
      return false
    }
    if (hasEnded) this.#drop(jobId)
    return true
  }

  #drop(jobId: string): void {
    this.#entries.get(jobId)?.row.item.remove()
    this.#entries.delete(jobId)
    this.#empty.hidden = this.#entries.size > 0
    if (this.#chosen === jobId) this.choose(null)
    this.onState()
  }
}
