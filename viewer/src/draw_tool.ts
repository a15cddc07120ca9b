/** Drawing on the slide with a pointer: rectangle, polygon, freehand, line. While one is drawn the wheel still zooms. */

import type { Plane, Point } from './plane'
import type { Sketches } from './sketches'

export type Shape = 'rectangle' | 'polygon' | 'freehand' | 'line'

/** Screen px within which a click counts as one on the first corner, and a drag as none. */
const NEAR_PX = 8
/** Screen px between two positions of a line drawn by hand. */
const STEP_PX = 3
const NAME = 'pen'

export interface Order {
  shape: Shape
  kind: 'draft' | 'ruler'
  /** Said beside what is being drawn. */
  label: (points: Point[]) => string
  /** Told what was drawn, in level-0 px; null if it was given up. */
  done: (points: Point[] | null) => void
}

export class DrawTool {
  #order: Order | null = null
  /** What is certain so far, on the screen. */
  #points: Point[] = []
  #isDown = false

  constructor(
    private readonly plane: Plane,
    private readonly sketches: Sketches,
  ) {
    const { surface } = sketches
    surface.addEventListener('pointerdown', (event) => this.#handle(event, () => this.#press(event)))
    surface.addEventListener('pointermove', (event) => this.#handle(event, () => this.#move(event)))
    surface.addEventListener('pointerup', (event) => this.#handle(event, () => this.#lift(event)))
    surface.addEventListener('dblclick', (event) => event.stopPropagation())
    // Taken before the slide's own keys, wherever the focus is.
    document.addEventListener('keydown', (event) => this.#key(event), { capture: true })
  }

  /** Let a shape be drawn, in place of one that was begun. */
  start(order: Order): void {
    this.stop()
    this.#order = order
    this.sketches.surface.classList.add('active')
  }

  /** Give up what is being drawn. */
  stop(): void {
    this.#end(null)
  }

  #handle(event: PointerEvent, act: () => void): void {
    if (this.#order === null || event.button > 0) return
    event.stopPropagation() // the slide does not move meanwhile
    event.preventDefault()
    act()
  }

  #press(event: PointerEvent): void {
    const at = this.plane.under(event)
    if (at === null || this.#order === null) return
    this.sketches.surface.setPointerCapture(event.pointerId)
    this.#isDown = true
    if (this.#order.shape === 'polygon') this.#corner(at)
    else if (this.#points.length === 0) this.#points = [at]
    this.#show(at)
  }

  /** Another corner of a polygon, or, at its first or last one, its end. */
  #corner(at: Point): void {
    const [first, last] = [this.#points[0], this.#points.at(-1)]
    if (this.#points.length >= 3 && first && last && (this.#isNear(at, first) || this.#isNear(at, last))) this.#finish()
    else if (!last || !this.#isNear(at, last)) this.#points.push(at)
  }

  #move(event: PointerEvent): void {
    const at = this.plane.under(event)
    if (at === null || this.#points.length === 0) return
    const last = this.#points.at(-1)
    if (this.#order?.shape === 'freehand' && this.#isDown && last && !this.#isNear(at, last, STEP_PX)) this.#points.push(at)
    this.#show(at)
  }

  #lift(event: PointerEvent): void {
    const at = this.plane.under(event)
    const first = this.#points[0]
    this.#isDown = false
    if (!at || !first || this.#order === null || this.#order.shape === 'polygon') return
    if (this.#order.shape === 'freehand') {
      if (this.#points.length < 3) this.#points = []
      else this.#finish()
    } else if (!this.#isNear(at, first)) {
      this.#points = this.#shapeOf(at)
      this.#finish()
    }
  }

  #key(event: KeyboardEvent): void {
    if (this.#order === null) return
    if (event.key !== 'Escape' && event.target instanceof HTMLInputElement) return // somebody types
    if (event.key === 'Escape') this.stop()
    else if (event.key === 'Enter' && this.#order.shape === 'polygon' && this.#points.length >= 3) this.#finish()
    else if (event.key === 'Backspace' && this.#points.length > 0) this.#points.pop()
    else return
    event.preventDefault()
    event.stopPropagation()
    this.#show(null)
  }

  /** Return the shape with the pointer at a position: of a rectangle its corners, upright on the screen. */
  #shapeOf(at: Point): Point[] {
    const first = this.#points[0]
    if (!first || this.#order === null) return []
    if (this.#order.shape === 'line') return [first, at]
    if (this.#order.shape !== 'rectangle') return [...this.#points, at]
    const [a, b] = [this.plane.toScreen(first), this.plane.toScreen(at)]
    if (!a || !b) return []
    const corners = [a, { x: b.x, y: a.y }, b, { x: a.x, y: b.y }].map((corner) => this.plane.toSlide(corner))
    return corners.filter((corner) => corner !== null)
  }

  #show(at: Point | null): void {
    const order = this.#order
    if (order === null) return
    const points = at === null ? this.#points : this.#shapeOf(at)
    const isClosed = order.shape === 'rectangle'
    this.sketches.set(NAME, points.length > 0 ? { lines: [points], isClosed, kind: order.kind, label: order.label(points) } : null)
  }

  #finish(): void {
    this.#end(this.#points)
  }

  #end(points: Point[] | null): void {
    const order = this.#order
    this.#order = null
    this.#points = []
    this.#isDown = false
    this.sketches.surface.classList.remove('active')
    this.sketches.set(NAME, null)
    order?.done(points)
  }

  #isNear(one: Point, other: Point, px = NEAR_PX): boolean {
    const [a, b] = [this.plane.toScreen(one), this.plane.toScreen(other)]
    return a !== null && b !== null && Math.hypot(a.x - b.x, a.y - b.y) < px
  }
}
