/** How many objects there are where, as coloured cells over the slide. */

import type OpenSeadragon from 'openseadragon'
import type { Plane } from './plane'
import { blank } from './screen_canvas'
import { TABLE } from './sequential'

/** Cells row by row, the first at the slide's corner; null is not drawn. */
export interface Cells {
  cell_px: [number, number]
  columns: number
  rows: number
  per_mm2: (number | null)[]
}

/** As the server tells it. */
export interface Density extends Cells {
  cell_um: number
  counts: number[]
}

/** Return the most objects per mm² of cells that lie on the slide as a whole, or of all where there are none such. */
export function mostPerMm2({ columns, rows, per_mm2 }: Cells): number {
  const whole = per_mm2.filter((_, i) => i % columns < columns - 1 && i < columns * (rows - 1))
  return (whole.length > 0 ? whole : per_mm2).reduce<number>((most, each) => Math.max(most, each ?? 0), 0)
}

export class DensityCanvas {
  readonly #canvas = document.createElement('canvas')
  readonly #cells = document.createElement('canvas')
  #density: Cells | null = null
  #opacity = 1

  constructor(
    private readonly osd: OpenSeadragon.Viewer,
    private readonly plane: Plane,
  ) {
    this.#canvas.className = 'density'
    osd.canvas.insertBefore(this.#canvas, osd.canvas.querySelector('.outlines'))
    osd.addHandler('update-viewport', () => this.#draw())
  }

  /** Draw a density in place of another; null draws none. */
  show(density: Cells | null): void {
    this.#density = density
    if (density !== null) this.#paint(density)
    this.osd.forceRedraw()
  }

  setOpacity(opacity: number): void {
    this.#opacity = opacity
    this.osd.forceRedraw()
  }

  /** Paint a px for each cell; where there is nothing it is transparent. */
  #paint(density: Cells): void {
    const { columns, rows, per_mm2 } = density
    Object.assign(this.#cells, { width: columns, height: rows })
    const most = mostPerMm2(density)
    const context = this.#cells.getContext('2d')
    const image = context?.createImageData(columns, rows)
    if (!context || !image) return
    per_mm2.forEach((each, i) => {
      if (each !== null && each > 0) image.data.set([...(TABLE[Math.min(255, Math.round((255 * each) / most))] ?? [0, 0, 0]), 255], 4 * i)
    })
    context.putImageData(image, 0, 0)
  }

  #draw(): void {
    const context = blank(this.osd, this.#canvas)
    const [map, size] = [this.plane.matrix(), this.plane.image()?.getContentSize()]
    if (context === null || map === null || !size || this.#density === null) return
    this.#canvas.style.opacity = String(this.#opacity)
    const { cell_px, columns, rows } = this.#density
    context.imageSmoothingEnabled = false
    context.setTransform(...(map.map((each) => each * devicePixelRatio) as typeof map))
    context.save()
    context.beginPath()
    context.rect(0, 0, size.x, size.y)
    context.clip() // the last cells may end beside the slide
    context.drawImage(this.#cells, 0, 0, columns * cell_px[0], rows * cell_px[1])
    context.restore()
  }
}
