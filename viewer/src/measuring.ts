/** Ruler and area: lines on the slide with their length or what they enclose, until they are cleared. */

import { byId } from './dom'
import type { Shape } from './draw_tool'
import { areaOf, lengthOf } from './measure'
import { announce } from './notices'
import type { Point } from './plane'
import { lineLength, ringArea } from './shapes'
import { VIEW } from './strings'
import type { SlideViewer } from './viewer'

type Kind = 'ruler' | 'area'

interface Measured {
  kind: Kind
  points: Point[]
}

const SHAPES: Record<Kind, Shape> = { ruler: 'line', area: 'polygon' }

export class Measuring {
  readonly #clear = byId('clear-measures', HTMLButtonElement)
  readonly #choices = { ruler: byId('ruler', HTMLButtonElement), area: byId('area', HTMLButtonElement) }
  #measured: Measured[] = []
  #active: Kind | null = null

  constructor(private readonly viewer: SlideViewer) {
    for (const kind of ['ruler', 'area'] as const) {
      this.#choices[kind].addEventListener('click', () => (this.#active === kind ? viewer.pen.stop() : this.#begin(kind)))
    }
    this.#clear.addEventListener('click', () => this.clear())
    viewer.changes.addEventListener('mpp', () => this.#draw())
  }

  clear(): void {
    this.#measured = []
    this.#draw()
  }

  #begin(kind: Kind): void {
    this.viewer.pen.start({
      shape: SHAPES[kind],
      kind: 'ruler',
      label: (points) => this.#words(kind, points),
      done: (points) => this.#done(kind, points),
    })
    this.#mark(kind)
    announce(VIEW.howTo[kind])
    this.#choices[kind].title = VIEW.howTo[kind]
  }

  /** Keep what was measured and let the next be; giving up ends it. */
  #done(kind: Kind, points: Point[] | null): void {
    this.#mark(null)
    if (points === null) return
    this.#measured.push({ kind, points })
    announce(this.#words(kind, points))
    this.#draw()
    this.#begin(kind)
  }

  #draw(): void {
    this.viewer.sketches.clear('measure')
    this.#measured.forEach(({ kind, points }, i) => {
      const sketch = { lines: [points], isClosed: kind === 'area', kind: 'ruler' as const, label: this.#words(kind, points) }
      this.viewer.sketches.set(`measure-${i}`, sketch)
    })
    this.#clear.hidden = this.#measured.length === 0
  }

  #words(kind: Kind, points: Point[]): string {
    const mpp = this.viewer.mpp()
    return kind === 'ruler' ? lengthOf(lineLength(points, mpp), mpp) : areaOf(ringArea(points), mpp)
  }

  #mark(kind: Kind | null): void {
    this.#active = kind
    for (const [name, choice] of Object.entries(this.#choices)) choice.setAttribute('aria-pressed', String(name === kind))
  }
}
