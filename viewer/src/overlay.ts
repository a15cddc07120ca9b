/** How an overlay is drawn: which classes, filled or as outlines. Its tiles are PNG in the classes' colours, background transparent. */

import type { ModelClass } from './types'

const OUTLINE_PX = 4

/** Return an opaque colour as one number, as it is found in the tiles. */
function packed(red: number, green: number, blue: number): number {
  return new Uint32Array(Uint8Array.of(red, green, blue, 255).buffer)[0] ?? 0
}

/** What of an overlay is to be seen. Two classes of one colour cannot be told apart: they go when both are off. */
export class Look {
  readonly #off = new Set<number>()

  constructor(
    private readonly classes: ModelClass[],
    public outlines: boolean,
  ) {}

  isHidden(index: number): boolean {
    return this.#off.has(index)
  }

  set(index: number, isShown: boolean): void {
    if (isShown) this.#off.delete(index)
    else this.#off.add(index)
  }

  /** Whether the tiles are shown as they come. */
  isPlain(): boolean {
    return this.#off.size === 0 && !this.outlines
  }

  /** Make transparent what is not to be seen, in place. */
  paint(context: CanvasRenderingContext2D): void {
    const { width, height } = context.canvas
    const image = context.getImageData(0, 0, width, height)
    const pixels = new Uint32Array(image.data.buffer)
    const before = pixels.slice()
    const hidden = this.#hiddenColors()
    for (let i = 0; i < before.length; i += 1) {
      const color = before[i] ?? 0
      if (color !== 0 && (hidden.has(color) || (this.outlines && isWithin(before, width, i)))) pixels[i] = 0
    }
    context.putImageData(image, 0, 0)
  }

  /** Return the colours of which no class is shown. */
  #hiddenColors(): Set<number> {
    const shown = new Set<number>()
    const hidden = new Set<number>()
    for (const { index, color } of this.classes) (this.#off.has(index) ? hidden : shown).add(packed(...color))
    return new Set([...hidden].filter((color) => !shown.has(color)))
  }
}

/** Whether all pixels beside this one are of its colour. Beyond the tile everything counts as such: no seams are drawn. */
function isWithin(pixels: Uint32Array, width: number, i: number): boolean {
  const color = pixels[i]
  const column = i % width
  for (let step = 1; step <= OUTLINE_PX; step += 1) {
    const down = step * width
    if (column >= step && pixels[i - step] !== color) return false
    if (column < width - step && pixels[i + step] !== color) return false
    if (i >= down && pixels[i - down] !== color) return false
    if (i < pixels.length - down && pixels[i + down] !== color) return false
  }
  return true
}
