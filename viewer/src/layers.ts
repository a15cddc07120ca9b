/** What is laid over the slide beside the overlay of the chosen job, and what is found on it: one part of the panel. */

import './layers.css'
import { byId, el } from './dom'
import { Compare } from './compare'
import { Hover } from './hover'
import type { LayerState } from './layer_state'
import { MapPanel } from './map_panel'
import { report } from './notices'
import { ObjectPanel } from './object_panel'
import { COMPARE, MAPS, OBJECTS } from './strings'
import type { JobView, ModelClass, SlideInfo } from './types'
import type { SlideViewer } from './viewer'

const TABLE = 'objects.parquet'

export class Layers {
  readonly #maps: MapPanel
  readonly #objects: ObjectPanel
  readonly #objectsPart: HTMLDetailsElement
  readonly #hover: Hover
  readonly #compare: Compare
  #shown: { job: JobView; slide: SlideInfo | null } | null = null
  #turn = 0

  /** `classesOf` knows the classes of a model that is installed; `onChange` is told that the address has to change.
   * While `isJudging`, a click on an object is for the corrections, which mark it themselves. */
  constructor(
    viewer: SlideViewer,
    private readonly classesOf: (model: string) => ModelClass[],
    onChange: () => void,
    isJudging: () => boolean,
  ) {
    this.#maps = new MapPanel(viewer, () => {
      this.#objects.restart()
      this.#compare.redraw()
      onChange()
    })
    this.#objects = new ObjectPanel(viewer, () => this.#maps.state().sure / 100)
    this.#hover = new Hover(viewer, (found) => {
      this.#objects.choose(isJudging() ? null : found)
    })
    this.#compare = new Compare(viewer, classesOf, () => this.#maps.state().sure, onChange, (jobId) => void this.#maps.compareWith(jobId).catch(report))
    this.#objectsPart = part(OBJECTS.heading, this.#objects.element, true)
    const comparing = part(COMPARE.heading, this.#compare.element, false)
    comparing.addEventListener('toggle', () => this.jobsChanged())
    const parts = [part(MAPS.heading, this.#maps.element, true), this.#objectsPart, comparing]
    byId('layers', HTMLElement).replaceChildren(...parts)
  }

  state(): LayerState {
    return { ...this.#maps.state(), ...this.#compare.state() }
  }

  /** Take what an address says; it is shown at once if there is a job, or else with the one that comes. */
  take(state: LayerState): void {
    if (JSON.stringify(state) === JSON.stringify(this.state())) return
    this.#maps.take(state)
    this.#compare.take(state)
    if (this.#shown !== null) void this.show(this.#shown.job, this.#shown.slide, Promise.resolve()).catch(report)
  }

  /** Say that a job of the slide has come, has gone or stands elsewhere. */
  jobsChanged(): void {
    void this.#compare.refresh().catch(() => undefined) // the list of jobs says what is wrong
  }

  /** Show what there is of a job once its overlay is shown; of one that has not succeeded, and of null, nothing. */
  async show(job: JobView | null, slide: SlideInfo | null, overlay: Promise<void>): Promise<void> {
    const turn = ++this.#turn
    const done = job?.state === 'succeeded' ? job : null
    this.#shown = done && { job: done, slide }
    byId('layers', HTMLElement).hidden = done === null
    const withObjects = done !== null && TABLE in done.results ? done : null
    this.#hover.of(withObjects?.id ?? null)
    this.#objects.show(withObjects, withObjects === null ? [] : this.classesOf(withObjects.request.model))
    this.#objectsPart.hidden = withObjects === null
    if (done !== null) await overlay
    if (turn === this.#turn) await this.#compare.show(done, slide)
    if (turn === this.#turn) await this.#maps.show(done)
  }
}

function part(title: string, body: HTMLElement, open: boolean): HTMLDetailsElement {
  return el('details', { open }, el('summary', { textContent: title }), body)
}
