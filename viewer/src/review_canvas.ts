/** Corrected objects over the slide: accepted, rejected and changed ones differ in line and mark, not in colour alone. */

import type OpenSeadragon from 'openseadragon'
import type { Plane, Point } from './plane'
import type { CorrectedObject, CorrectionState, Outline } from './review_types'
import { blank } from './screen_canvas'

/** Screen px. */
const LINE_PX = 2.5
const CASING_PX = 5.5
/** Screen px of an object below which its mark is left out. */
const MARKED_PX = 24

type Kind = 'accepted' | 'rejected' | 'changed' | 'selected'
const COLORS: Record<Kind, string> = { accepted: '#00734f', rejected: '#b03a00', changed: '#0058a3', selected: '#111111' }

interface Drawn {
  kind: Kind
  path: Path2D
  box: readonly [number, number, number, number]
}

export class ReviewCanvas {
  /** Told the position of the slide, in level-0 px, where a click was that was no drag. */
  onClick: ((at: Point) => void) | null = null
  readonly #canvas = document.createElement('canvas')
  #objects: Drawn[] = []
  #selected: Drawn | null = null

  constructor(
    private readonly osd: OpenSeadragon.Viewer,
    private readonly plane: Plane,
  ) {
    this.#canvas.className = 'outlines'
    this.#canvas.id = 'review-canvas'
    this.#canvas.setAttribute('aria-hidden', 'true')
    osd.canvas.append(this.#canvas)
    osd.addHandler('update-viewport', () => this.#draw())
    osd.addHandler('canvas-click', ({ quick, originalEvent }) => {
      const at = quick ? this.plane.under(originalEvent as MouseEvent) : null
      if (at !== null) this.onClick?.(at)
    })
  }

  /** Draw these objects in place of those that were drawn. */
  show(objects: readonly CorrectedObject[]): void {
    this.#objects = objects.map(({ state, geometry, box }) => ({ kind: kindOf(state), path: pathOf(geometry ?? boxed(box)), box }))
    this.#draw()
  }

  /** Mark the object that is chosen; null: none. */
  select(outline: Outline | null): void {
    this.#selected = outline && { kind: 'selected', path: pathOf(outline), box: boxOf(outline) }
    this.#draw()
  }

  #draw(): void {
    const context = blank(this.osd, this.#canvas)
    const map = this.plane.matrix()
    if (context === null || map === null) return
    const scale = Math.hypot(map[0], map[1])
    const seen = this.#seen()
    context.transform(...map)
    for (const each of this.#objects) if (overlap(each.box, seen)) this.#outline(context, each, scale)
    if (this.#selected !== null) this.#outline(context, this.#selected, scale)
  }

  #outline(context: CanvasRenderingContext2D, { kind, path, box }: Drawn, scale: number): void {
    const mark = kind === 'selected' || Math.min(box[2] - box[0], box[3] - box[1]) * scale < MARKED_PX ? null : markOf(kind, box)
    const stroke = (color: string, width: number, each: Path2D, dash: number[] = []): void => {
      context.strokeStyle = color
      context.lineWidth = width / scale
      context.setLineDash(dash.map((px) => px / scale))
      context.stroke(each)
    }
    context.lineJoin = context.lineCap = 'round'
    // Light below dark: one of them is seen on every ground.
    for (const each of [path, mark]) if (each !== null) stroke(kind === 'selected' ? '#ffe14d' : '#ffffff', CASING_PX, each)
    stroke(COLORS[kind], LINE_PX, path, kind === 'rejected' ? [6, 5] : [])
    if (mark !== null) stroke(COLORS[kind], LINE_PX, mark)
  }

  /** Return what is seen as x0, y0, x1, y1, level-0 px. */
  #seen(): readonly [number, number, number, number] {
    const corners = this.plane.seen() ?? []
    const [xs, ys] = [corners.map(({ x }) => x), corners.map(({ y }) => y)]
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)]
  }
}

function kindOf(state: CorrectionState): Kind {
  return state === 'accepted' || state === 'rejected' ? state : 'changed'
}

function pathOf({ coordinates }: Outline): Path2D {
  const path = new Path2D()
  for (const ring of coordinates) {
    ring.forEach(([x, y], i) => (i === 0 ? path.moveTo(x, y) : path.lineTo(x, y)))
    path.closePath()
  }
  return path
}

/** A tick on what is accepted, a cross on what is none, a dot on what is another thing than the model found. */
function markOf(kind: Kind, [x0, y0, x1, y1]: readonly [number, number, number, number]): Path2D {
  const path = new Path2D()
  const [x, y, r] = [(x0 + x1) / 2, (y0 + y1) / 2, Math.min(x1 - x0, y1 - y0) / 5]
  if (kind === 'accepted') {
    path.moveTo(x - r, y)
    path.lineTo(x - r / 4, y + r * 0.8)
    path.lineTo(x + r, y - r * 0.8)
  } else if (kind === 'rejected') {
    path.moveTo(x - r, y - r)
    path.lineTo(x + r, y + r)
    path.moveTo(x + r, y - r)
    path.lineTo(x - r, y + r)
  } else path.arc(x, y, r / 2, 0, 2 * Math.PI)
  return path
}

function boxed([x0, y0, x1, y1]: readonly [number, number, number, number]): Outline {
  return { type: 'Polygon', coordinates: [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]] }
}

function boxOf({ coordinates }: Outline): readonly [number, number, number, number] {
  const outer = coordinates[0] ?? []
  const [xs, ys] = [outer.map(([x]) => x), outer.map(([, y]) => y)]
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)]
}

function overlap(a: readonly [number, number, number, number], b: readonly [number, number, number, number]): boolean {
  return a[0] <= b[2] && a[2] >= b[0] && a[1] <= b[3] && a[3] >= b[1]
}
