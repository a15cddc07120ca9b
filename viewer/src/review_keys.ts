/** Keys of the corrections, as long as their panel is open. Most are for the chosen object, and no keys without one. */

export interface ReviewActions {
  isOn: () => boolean
  hasObject: () => boolean
  accept: () => void
  reject: () => void
  redraw: () => void
  add: () => void
  undo: () => void
  leave: () => void
  /** The class at a place of the list, from 0. */
  relabel: (place: number) => void
}

export class ReviewKeys {
  constructor(private readonly actions: ReviewActions) {
    // Taken before the slide's own keys, of which `a` and `d` move the view.
    document.addEventListener('keydown', (event) => this.#press(event), { capture: true })
  }

  #press(event: KeyboardEvent): void {
    if (event.defaultPrevented || !this.actions.isOn() || isTyping(event.target) || event.altKey) return
    const act = event.ctrlKey || event.metaKey ? (event.key === 'z' ? this.actions.undo : null) : this.#actionOf(event.key)
    if (act === null) return
    event.preventDefault()
    event.stopPropagation()
    act()
  }

  #actionOf(key: string): (() => void) | null {
    if (key === 'u') return this.actions.undo
    if (key === 'o') return this.actions.add
    if (!this.actions.hasObject()) return null
    const { accept, reject, redraw, leave, relabel } = this.actions
    const ofObject: Record<string, () => void> = { a: accept, x: reject, d: redraw, Escape: leave }
    if (/^[1-9]$/.test(key)) return () => relabel(Number(key) - 1)
    return ofObject[key] ?? null
  }
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLInputElement || target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement
}
