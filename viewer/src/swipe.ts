/** The line between two pictures that lie over each other: dragged, or moved by arrow keys. */

import { byId } from './dom'
import { COMPARE } from './strings'

const STEP = 2
const FAR = 10

export class Swipe {
  readonly #handle = byId('swipe', HTMLElement)
  #at = 50

  /** `onMove` is told that the line lies elsewhere, `onRest` that it stays there. */
  constructor(
    private readonly pane: HTMLElement,
    private readonly onRest: () => void,
  ) {
    this.#handle.setAttribute('aria-label', COMPARE.swipe)
    this.#handle.addEventListener('keydown', (event) => this.#pressed(event))
    this.#handle.addEventListener('pointerdown', (event) => {
      this.#handle.setPointerCapture(event.pointerId)
      event.preventDefault()
      this.#handle.focus()
    })
    this.#handle.addEventListener('pointermove', (event) => {
      if (!this.#handle.hasPointerCapture(event.pointerId)) return
      const box = pane.getBoundingClientRect()
      this.move((100 * (event.clientX - box.left)) / box.width)
    })
    this.#handle.addEventListener('pointerup', () => onRest())
  }

  at(): number {
    return Math.round(this.#at)
  }

  /** Lay the line at a share of the width, per cent. */
  move(at: number): void {
    this.#at = Math.min(100, Math.max(0, at))
    this.#handle.style.left = `${this.#at}%`
    this.#handle.setAttribute('aria-valuenow', String(this.at()))
    this.#handle.setAttribute('aria-valuetext', COMPARE.divided(this.at()))
    this.pane.style.clipPath = this.#handle.hidden ? '' : `inset(0 0 0 ${this.#at}%)`
  }

  show(isShown: boolean): void {
    this.#handle.hidden = !isShown
    this.move(this.#at)
  }

  #pressed(event: KeyboardEvent): void {
    const step = event.shiftKey ? FAR : STEP
    const places: Record<string, number> = { ArrowLeft: this.#at - step, ArrowRight: this.#at + step, Home: 0, End: 100 }
    const wanted = places[event.key]
    if (wanted === undefined) return
    event.preventDefault()
    event.stopPropagation()
    this.move(wanted)
    this.onRest()
  }
}
