/** Lines over the slide: regions, what is being drawn, what was measured. They keep their width at every zoom. */

import type OpenSeadragon from 'openseadragon'
import type { Plane, Point } from './plane'

const SVG = 'http://www.w3.org/2000/svg'

/** What is drawn: rings or lines in level-0 px, and a word beside the last position. */
export interface Sketch {
  lines: Point[][]
  isClosed: boolean
  kind: 'job' | 'draft' | 'ruler' | 'object' | 'warning'
  label?: string
}

interface Drawn {
  sketch: Sketch
  group: SVGGElement
}

export class Sketches {
  /** Takes the pointer while something is drawn. */
  readonly surface = made('svg')
  readonly #drawn = new Map<string, Drawn>()

  constructor(
    osd: OpenSeadragon.Viewer,
    private readonly plane: Plane,
  ) {
    this.surface.classList.add('sketches')
    this.surface.setAttribute('aria-hidden', 'true')
    osd.canvas.append(this.surface)
    osd.addHandler('update-viewport', () => this.#place())
  }

  /** Draw something in place of what had this name; null takes it away. */
  set(name: string, sketch: Sketch | null): void {
    this.#drawn.get(name)?.group.remove()
    this.#drawn.delete(name)
    if (sketch === null) return
    const group = made('g')
    group.classList.add(sketch.kind)
    // Light below dark: one of them is seen on every ground.
    group.append(made('path'), made('path'))
    if (sketch.label) group.append(made('text'))
    this.surface.append(group)
    this.#drawn.set(name, { sketch, group })
    this.#draw(sketch, group)
  }

  /** Take away all whose name begins so. */
  clear(prefix = ''): void {
    for (const name of [...this.#drawn.keys()]) if (name.startsWith(prefix)) this.set(name, null)
  }

  #place(): void {
    for (const { sketch, group } of this.#drawn.values()) this.#draw(sketch, group)
  }

  #draw({ lines, isClosed, label }: Sketch, group: SVGGElement): void {
    const map = this.plane.matrix()
    group.setAttribute('visibility', map === null ? 'hidden' : 'visible')
    if (map === null) return
    const [a, b, c, d, e, f] = map
    const placed = lines.map((line) => line.map(({ x, y }) => [a * x + c * y + e, b * x + d * y + f] as const))
    const text = placed.map((line) => `M${line.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}${isClosed ? 'Z' : ''}`).join('')
    for (const path of group.querySelectorAll('path')) path.setAttribute('d', text)
    const [x, y] = placed.at(-1)?.at(-1) ?? [0, 0]
    const word = group.querySelector('text')
    if (!word) return
    word.textContent = label ?? ''
    word.setAttribute('x', String(x + 8))
    word.setAttribute('y', String(y - 8))
  }
}

function made<K extends keyof SVGElementTagNameMap>(tag: K): SVGElementTagNameMap[K] {
  return document.createElementNS(SVG, tag)
}
