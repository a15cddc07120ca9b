/** Which classes of an overlay are shown. Its tiles are PNG in the classes' colours, background transparent. */

import type { ModelClass } from './types'

/** Return a colour as one number, as it is found in the tiles. */
function packed(red: number, green: number, blue: number): number {
  return (red << 16) | (green << 8) | blue
}

/** The classes that are switched off. Two classes of one colour cannot be told apart: they go when both are off. */
export class Hidden {
  readonly #off = new Set<number>()

  constructor(private readonly classes: ModelClass[]) {}

  isHidden(index: number): boolean {
    return this.#off.has(index)
  }

  set(index: number, isShown: boolean): void {
    if (isShown) this.#off.delete(index)
    else this.#off.add(index)
  }

  /** Return the colours of which no class is shown. */
  colors(): Set<number> {
    const shown = new Set<number>()
    const hidden = new Set<number>()
    for (const { index, color } of this.classes) (this.#off.has(index) ? hidden : shown).add(packed(...color))
    return new Set([...hidden].filter((color) => !shown.has(color)))
  }
}

/** Make the pixels of these colours transparent, in place. */
export function hideColors(context: CanvasRenderingContext2D, colors: Set<number>): void {
  const { width, height } = context.canvas
  const image = context.getImageData(0, 0, width, height)
  const { data } = image
  for (let i = 0; i < data.length; i += 4) {
    if (colors.has(packed(data[i] ?? 0, data[i + 1] ?? 0, data[i + 2] ?? 0))) data[i + 3] = 0
  }
  context.putImageData(image, 0, 0)
}
