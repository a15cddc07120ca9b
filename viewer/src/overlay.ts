/** How an overlay is drawn: which classes, in which colours. Its tiles are PNG in the model's colours, background transparent. */

import { type Paint, type Palette, rgb } from './palette'
import type { ModelClass } from './types'

/** Return a colour as one number, as it is found in the tiles. */
function packed(red: number, green: number, blue: number, alpha = 255): number {
  return new Uint32Array(Uint8Array.of(red, green, blue, alpha).buffer)[0] ?? 0
}

/** What of an overlay is to be seen. Two classes of one colour in the tiles cannot be told apart: the first counts. */
export class Look {
  readonly #off = new Set<number>()
  /** Index of the class whose colour it is. */
  readonly #indices = new Map<number, number>()

  constructor(
    readonly classes: ModelClass[],
    public outlines: boolean,
    readonly palette: Palette,
  ) {
    for (const { index, color } of [...classes].reverse()) if (index > 0) this.#indices.set(packed(...color), index)
  }

  isHidden(index: number): boolean {
    return this.#off.has(index)
  }

  set(index: number, isShown: boolean): void {
    if (isShown) this.#off.delete(index)
    else this.#off.add(index)
  }

  /** Return how the classes that are shown are painted, by index. */
  paints(): Map<number, Paint> {
    const shown = this.classes.filter(({ index }) => index > 0 && !this.#off.has(index))
    return new Map(shown.map((each) => [each.index, this.palette.paintOf(each)]))
  }

  /** Return the class of each pixel of a tile; 0 where there is none. */
  indicesOf(image: ImageData): Uint8Array {
    const pixels = new Uint32Array(image.data.buffer)
    const indices = new Uint8Array(pixels.length)
    let [last, index] = [0, 0]
    pixels.forEach((color, i) => {
      if (color !== last) [last, index] = [color, color === 0 ? 0 : (this.#indices.get(color) ?? 0)]
      indices[i] = index
    })
    return indices
  }

  /** Paint a tile, or leave nothing of it where outlines are drawn instead. */
  paint(context: CanvasRenderingContext2D, indices: Uint8Array): void {
    const { width, height } = context.canvas
    const image = context.createImageData(width, height)
    if (!this.outlines) {
      const colors = new Uint32Array(256)
      for (const [index, { color, opacity }] of this.paints()) colors[index] = packed(...rgb(color), Math.round(255 * opacity))
      const pixels = new Uint32Array(image.data.buffer)
      indices.forEach((index, i) => {
        pixels[i] = colors[index] ?? 0
      })
    }
    context.putImageData(image, 0, 0)
  }
}
