/** Where the next job looks: all of the slide, what is seen, or a region that is drawn. */

import { byId } from './dom'
import type { Shape } from './draw_tool'
import { areaOf } from './measure'
import { announce } from './notices'
import { clipped, regionArea, regionOf, ringArea, ringsOf } from './shapes'
import type { Point } from './plane'
import { WHERE } from './strings'
import type { Region, SlideInfo } from './types'
import type { SlideViewer } from './viewer'

const NAME = 'draft'
const SHAPES: Shape[] = ['rectangle', 'polygon', 'freehand']

export class Where {
  readonly #hint = byId('where-hint', HTMLElement)
  readonly #all = byId('where-all', HTMLButtonElement)
  readonly #view = byId('where-view', HTMLButtonElement)
  readonly #shapes = new Map(SHAPES.map((shape) => [shape, byId(`where-${shape}`, HTMLButtonElement)] as const))
  #slide: SlideInfo | null = null
  #region: Region | null = null
  /** The button by which the region came. */
  #by: HTMLButtonElement = this.#all

  constructor(private readonly viewer: SlideViewer) {
    this.#all.addEventListener('click', () => this.#take(null, this.#all))
    this.#view.addEventListener('click', () => this.#drawn(viewer.plane.seen(), this.#view))
    viewer.changes.addEventListener('mpp', () => this.#describe())
    for (const [shape, choice] of this.#shapes) choice.addEventListener('click', () => this.#draw(shape, choice))
  }

  /** Begin with all of a slide. */
  show(slide: SlideInfo): void {
    this.viewer.pen.stop()
    this.#slide = slide
    this.#take(null, this.#all)
  }

  /** Return what to segment, in level-0 px; null for all of the slide. */
  region(): Region | null {
    return this.#region
  }

  /** Take the region of an earlier job, null for all of the slide. */
  take(region: Region | null): void {
    this.#take(region, region === null ? this.#all : null)
  }

  #draw(shape: Shape, choice: HTMLButtonElement): void {
    const before = { region: this.#region, by: this.#by }
    const label = (points: Point[]): string => areaOf(ringArea(points), this.viewer.mpp())
    this.viewer.pen.start({
      shape,
      kind: 'draft',
      label,
      done: (points) => (points === null ? this.#take(before.region, before.by) : this.#drawn(points, choice)),
    })
    this.#mark(choice)
    this.#say(WHERE[shape as keyof typeof WHERE] as string)
    byId('slide', HTMLElement).scrollIntoView({ block: 'nearest' }) // on a phone it lies above the form
  }

  #drawn(points: Point[] | null, by: HTMLButtonElement): void {
    if (points === null || this.#slide === null) return
    const ring = clipped(points, this.#slide)
    if (ring.length >= 3 && ringArea(ring) >= 1) this.#take(regionOf(ring), by)
    else {
      this.#take(null, this.#all)
      this.#say(WHERE.nothing)
    }
  }

  #take(region: Region | null, by: HTMLButtonElement | null): void {
    this.viewer.pen.stop()
    this.#region = region
    this.#by = by ?? this.#view
    this.#mark(by)
    this.viewer.sketches.set(NAME, region && { lines: ringsOf(region), isClosed: true, kind: 'draft' })
    announce(this.#describe())
  }

  #describe(): string {
    const region = this.#region
    const words = region === null ? WHERE.all : WHERE.region(areaOf(regionArea(region), this.viewer.mpp()))
    this.#hint.textContent = words
    return words
  }

  #mark(chosen: HTMLButtonElement | null): void {
    for (const each of [this.#all, this.#view, ...this.#shapes.values()]) each.setAttribute('aria-pressed', String(each === chosen))
  }

  #say(text: string): void {
    this.#hint.textContent = text
    announce(text)
  }
}
