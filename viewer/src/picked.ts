/** Slides that are chosen together: jobs on all of them, or deleting them. */

import { byId } from './dom'
import { report } from './notices'
import { LIST } from './strings'
import type { SlideInfo } from './types'

export interface PickedActions {
  start: (slides: SlideInfo[]) => Promise<void>
  remove: (slides: SlideInfo[]) => Promise<void>
  /** The slides that the list shows now. */
  shown: () => SlideInfo[]
  onChange: (ids: ReadonlyMap<string, SlideInfo>) => void
}

export class Picked {
  readonly #bar = byId('picked', HTMLElement)
  readonly #count = byId('picked-count', HTMLElement)
  readonly #all = byId('pick-all', HTMLInputElement)
  readonly #slides = new Map<string, SlideInfo>()

  constructor(private readonly actions: PickedActions) {
    this.#all.addEventListener('change', () => {
      this.#slides.clear()
      if (this.#all.checked) for (const slide of actions.shown()) this.#slides.set(slide.id, slide)
      this.#show()
    })
    this.#on('picked-start', (slides) => actions.start(slides))
    this.#on('picked-delete', async (slides) => {
      if (confirm(LIST.removeAll(slides.length))) await actions.remove(slides)
    })
  }

  has(slideId: string): boolean {
    return this.#slides.has(slideId)
  }

  pick(slide: SlideInfo, isPicked: boolean): void {
    if (isPicked) this.#slides.set(slide.id, slide)
    else this.#slides.delete(slide.id)
    this.#show()
  }

  /** Forget slides that are not on the server any more. */
  keepOnly(there: ReadonlyMap<string, unknown>): void {
    for (const id of [...this.#slides.keys()]) if (!there.has(id)) this.#slides.delete(id)
    this.#show()
  }

  #on(id: string, act: (slides: SlideInfo[]) => Promise<void>): void {
    const control = byId(id, HTMLButtonElement)
    control.addEventListener('click', () => {
      control.disabled = true
      const done = (): void => {
        control.disabled = false
      }
      void act([...this.#slides.values()]).catch(report).finally(done)
    })
  }

  #show(): void {
    const count = this.#slides.size
    this.#bar.hidden = count === 0
    this.#count.textContent = LIST.picked(count)
    this.#all.checked = count > 0 && this.actions.shown().every(({ id }) => this.#slides.has(id))
    this.#all.indeterminate = count > 0 && !this.#all.checked
    this.actions.onChange(this.#slides)
  }
}
