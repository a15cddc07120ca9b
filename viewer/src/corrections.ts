/** Corrections of the chosen job: objects are chosen on the slide, judged by buttons or keys, drawn anew, added. */

import { findJson, getJson, postJson, Refused } from './api'
import { byId, el } from './dom'
import { fetchResult } from './downloads'
import type { Shape } from './draw_tool'
import { areaOf, moment } from './measure'
import { announce, report } from './notices'
import { objectAt, type Picked } from './picking'
import type { Point } from './plane'
import { countsTable } from './review_counts'
import { ReviewKeys } from './review_keys'
import type { Change, Corrected, CorrectedObject, CorrectedStatistics, Corrections, Outline } from './review_types'
import { clipped, regionOf, ringArea } from './shapes'
import { REVIEW } from './strings'
import type { JobView, ModelClass, SlideInfo } from './types'
import type { SlideViewer } from './viewer'

const ZIP = 'training.zip'
const SHAPES: Shape[] = ['freehand', 'polygon', 'rectangle']

export class Review {
  readonly #panel = byId('review', HTMLDetailsElement)
  readonly #note = byId('review-note', HTMLElement)
  readonly #object = byId('review-object', HTMLElement)
  readonly #class = byId('review-class', HTMLSelectElement)
  readonly #shape = byId('review-shape', HTMLSelectElement)
  readonly #undo = byId('review-undo', HTMLButtonElement)
  readonly #redraw = byId('review-redraw', HTMLButtonElement)
  readonly #add = byId('review-add', HTMLButtonElement)
  #job: JobView | null = null
  #slide: SlideInfo | null = null
  #revision = 0
  #undoable: number | null = null
  readonly #known = new Map<string, CorrectedObject>()
  #picked: Picked | null = null
  #isSending = false
  /** Ends what was asked for the object before. */
  #asking = new AbortController()

  constructor(
    private readonly viewer: SlideViewer,
    private readonly classesOf: (model: string) => ModelClass[],
  ) {
    this.#shape.replaceChildren(...SHAPES.map((value) => el('option', { value, textContent: REVIEW.shapes[value as keyof typeof REVIEW.shapes] })))
    byId('review-accept', HTMLButtonElement).onclick = () => this.#judge('accept')
    byId('review-reject', HTMLButtonElement).onclick = () => this.#judge('reject')
    byId('review-relabel', HTMLButtonElement).onclick = () => this.#relabel(this.#class.value)
    this.#redraw.onclick = () => this.#draw(this.#redraw)
    this.#add.onclick = () => this.#draw(this.#add)
    this.#undo.onclick = () => void this.#takeBack()
    const zip = byId('review-export', HTMLButtonElement)
    zip.onclick = () => void (this.#job && fetchResult(zip, `/v1/jobs/${this.#job.id}/${ZIP}`, ZIP))
    this.#panel.addEventListener('toggle', () => this.#choose(null))
    viewer.review.onClick = (at) => void this.#pick(at)
    new ReviewKeys({
      isOn: () => this.isOn(),
      hasObject: () => this.#picked !== null,
      accept: () => this.#judge('accept'),
      reject: () => this.#judge('reject'),
      redraw: () => this.#draw(this.#redraw),
      add: () => this.#draw(this.#add),
      undo: () => void this.#takeBack(),
      leave: () => this.#choose(null),
      relabel: (place) => this.#relabel(this.#class.options[place]?.value),
    })
  }

  /** Whether people judge objects now. */
  isOn(): boolean {
    return !this.#panel.hidden && this.#panel.open
  }

  /** Show what was corrected of a job that has succeeded; nothing of any other. */
  async show(job: JobView | null, slide: SlideInfo | null): Promise<void> {
    const isOther = job?.id !== this.#job?.id || job?.state !== this.#job?.state
    this.#slide = slide
    if (!isOther) return
    this.#job = job?.state === 'succeeded' ? job : null
    this.#panel.hidden = this.#job === null
    this.#choose(null)
    this.#take({ revision: 0, undoable: null, items: [] })
    byId('review-counts', HTMLElement).replaceChildren()
    if (this.#job !== null) await this.#load(this.#job)
  }

  /** Read all of it anew. */
  async #load(job: JobView): Promise<void> {
    const corrections = await getJson<Corrections>(`/v1/jobs/${job.id}/corrections`)
    if (this.#job !== job) return
    this.#take(corrections)
    await this.#count(job)
  }

  #take({ revision, undoable, items }: Corrections): void {
    this.#known.clear()
    for (const each of items) this.#known.set(each.id, each)
    this.#stand(revision, undoable)
  }

  #stand(revision: number, undoable: number | null): void {
    this.#revision = revision
    this.#undoable = undoable
    this.#undo.disabled = undoable === null
    byId('review-export', HTMLButtonElement).disabled = this.#known.size === 0
    this.viewer.review.show([...this.#known.values()])
  }

  async #count(job: JobView): Promise<void> {
    const found = await findJson<CorrectedStatistics>(`/v1/jobs/${job.id}/corrections/statistics`)
    if (this.#job !== job) return
    const classes = found?.classes ?? this.classesOf(job.request.model).filter(({ index }) => index > 0)
    const chosen = this.#class.value
    this.#class.replaceChildren(...classes.map(({ name }) => el('option', { value: name, textContent: name })))
    if (classes.some(({ name }) => name === chosen)) this.#class.value = chosen
    byId('review-counts', HTMLElement).replaceChildren(...(found === null ? [] : [countsTable(found)]))
  }

  async #pick(at: Point): Promise<void> {
    const job = this.#job
    if (job === null || !this.#panel.open) return
    this.#asking.abort()
    this.#asking = new AbortController()
    const { signal } = this.#asking
    try {
      const found = await objectAt(job.id, at, this.#known, () => this.#say(REVIEW.making), signal)
      if (!signal.aborted) this.#choose(found, REVIEW.nothing)
    } catch (error) {
      if (!signal.aborted) report(error)
    }
  }

  /** Choose an object; `note` is said where there is none. */
  #choose(picked: Picked | null, note: string = REVIEW.howTo): void {
    this.#asking.abort()
    this.#picked = picked
    this.viewer.review.select(picked?.outline ?? null)
    this.#object.hidden = picked === null
    this.#say(picked === null ? note : wordsOf(picked))
    if (picked !== null) this.#class.value = picked.className
  }

  #judge(action: 'accept' | 'reject'): void {
    const picked = this.#picked
    if (picked !== null) void this.#send({ action, object: picked.id, near: nearOf(picked) })
  }

  #relabel(className: string | undefined): void {
    const picked = this.#picked
    if (picked !== null && className) void this.#send({ action: 'relabel', object: picked.id, near: nearOf(picked), class_name: className })
  }

  /** Let an outline be drawn: of the chosen object, or of a new one. */
  #draw(by: HTMLButtonElement): void {
    const [job, slide, picked, className] = [this.#job, this.#slide, this.#picked, this.#class.value]
    if (job === null || slide === null || (by === this.#redraw && picked === null)) return
    if (by.getAttribute('aria-pressed') === 'true') {
      this.viewer.pen.stop()
      return
    }
    this.viewer.pen.start({
      shape: this.#shape.value as Shape,
      kind: 'draft',
      label: (points) => areaOf(ringArea(points), this.viewer.mpp()),
      done: (points) => {
        by.setAttribute('aria-pressed', 'false')
        const outline = points && outlineOf(points, slide)
        if (outline === null || this.#job !== job) this.#say(points === null ? REVIEW.howTo : REVIEW.empty)
        else if (by === this.#add) void this.#send({ action: 'add', class_name: className, geometry: outline })
        else if (picked !== null) void this.#send({ action: 'redraw', object: picked.id, near: nearOf(picked), geometry: outline })
      },
    })
    by.setAttribute('aria-pressed', 'true')
    this.#say(REVIEW.draw)
    byId('slide', HTMLElement).scrollIntoView({ block: 'nearest' }) // on a phone it lies above
  }

  async #send(change: Change): Promise<void> {
    await this.#post('', { revision: this.#revision, changes: [change] })
  }

  async #takeBack(): Promise<void> {
    if (this.#undoable !== null) await this.#post('/undo', { revision: this.#revision, undo: this.#undoable })
  }

  async #post(where: string, body: object): Promise<void> {
    const job = this.#job
    if (job === null || this.#isSending) return
    this.#isSending = true
    try {
      const made = await postJson<Corrected>(`/v1/jobs/${job.id}/corrections${where}`, body)
      if (this.#job !== job) return
      for (const id of made.dropped) this.#known.delete(id)
      for (const each of made.items) this.#known.set(each.id, each)
      this.#stand(made.revision, made.undoable)
      this.#choose(null, where === '' ? REVIEW.said(made.items[0]?.state ?? 'accepted', made.items[0]?.class_name ?? '') : REVIEW.back)
      await this.#count(job)
    } catch (error) {
      report(error)
      if (error instanceof Refused && error.code === 'corrections_changed') await this.#load(job).catch(report)
    } finally {
      this.#isSending = false
    }
  }

  #say(text: string): void {
    this.#note.textContent = text
    if (this.#job !== null && this.#panel.open) announce(text)
  }
}

function wordsOf({ className, areaUm2, correction }: Picked): string {
  const size = `${Number(areaUm2.toPrecision(3))} µm²`
  return correction === null ? REVIEW.object(className, size) : REVIEW.corrected(className, size, correction.state, correction.author.name, moment(correction.at))
}

/** Return where the server finds an object; one that was corrected before it knows. */
function nearOf({ near, correction }: Picked): [number, number] | null {
  return correction === null ? near : null
}

/** Return what was drawn as far as it lies on the slide; null if nothing does. */
function outlineOf(points: Point[], slide: SlideInfo): Outline | null {
  const ring = clipped(points, slide)
  const region = ring.length >= 3 && ringArea(ring) >= 1 ? regionOf(ring) : null
  return region?.type === 'Polygon' ? region : null
}
