/** Colour and opacity of each class, as the person who looks has chosen them; kept in this browser, by the class's name. */

import type { ModelClass } from './types'

export interface Paint {
  /** `#rrggbb` */
  color: string
  /** 0 to 1 */
  opacity: number
}

/**
 * What classes are drawn in, in their order: colours of Okabe and Ito that the colour-blind tell apart, without those
 * near the violet of haematoxylin and the pink of eosin, and white. A test computes how far they are apart.
 */
export const COLORS = ['#f0e442', '#009e73', '#000000', '#ffffff', '#e69f00', '#d55e00'] as const
const STORED = 'ldiffusion-classes'

export class Palette {
  readonly #chosen: Map<string, Partial<Paint>>

  constructor() {
    this.#chosen = new Map(Object.entries(stored()))
  }

  paintOf({ name, index }: ModelClass): Paint {
    const usual = COLORS[(Math.max(index, 1) - 1) % COLORS.length] ?? COLORS[0]
    return { color: usual, opacity: 1, ...this.#chosen.get(name) }
  }

  choose({ name }: ModelClass, paint: Partial<Paint>): void {
    this.#chosen.set(name, { ...this.#chosen.get(name), ...paint })
    this.#keep()
  }

  /** Take the colours that the model gives its classes, as they are in its files. */
  takeModels(classes: readonly ModelClass[]): void {
    for (const each of classes) this.#chosen.set(each.name, { color: hex(each.color), opacity: 1 })
    this.#keep()
  }

  /** Take the usual colours again. */
  reset(classes: readonly ModelClass[]): void {
    for (const { name } of classes) this.#chosen.delete(name)
    this.#keep()
  }

  #keep(): void {
    try {
      localStorage.setItem(STORED, JSON.stringify(Object.fromEntries(this.#chosen)))
    } catch {
      // a browser that keeps nothing still shows it
    }
  }
}

/** Return red, green, blue of `#rrggbb`. */
export function rgb(color: string): [number, number, number] {
  const value = Number.parseInt(color.slice(1), 16)
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255]
}

function hex(color: readonly number[]): string {
  return `#${color.map((each) => each.toString(16).padStart(2, '0')).join('')}`
}

/** Return what this browser kept, as far as it makes sense. */
function stored(): Record<string, Partial<Paint>> {
  try {
    const kept = JSON.parse(localStorage.getItem(STORED) ?? '{}') as Record<string, Partial<Paint>>
    return Object.fromEntries(
      Object.entries(kept).map(([name, { color, opacity }]) => [
        name,
        {
          ...(typeof color === 'string' && /^#[0-9a-f]{6}$/.test(color) ? { color } : {}),
          ...(typeof opacity === 'number' && opacity >= 0 && opacity <= 1 ? { opacity } : {}),
        },
      ]),
    )
  } catch {
    return {}
  }
}
