/** One line of a list of uploads. */

import { el, progressBar } from './dom'
import { bytes } from './measure'
import { UPLOAD } from './strings'

export class Row {
  readonly #name = el('strong')
  readonly #text = el('div')
  readonly #bar = progressBar(null, '')
  readonly #actions = el('div', { className: 'actions' })
  readonly #item = el('li', {}, this.#name, this.#bar, this.#text, this.#actions)

  constructor(
    list: HTMLUListElement,
    public name: string,
  ) {
    this.renamed(name)
    list.append(this.#item)
  }

  /** Whether the line stands in this list. */
  isIn(list: HTMLUListElement): boolean {
    return this.#item.parentElement === list
  }

  renamed(name: string): this {
    this.name = name
    this.#name.textContent = this.#name.title = name
    this.#bar.setAttribute('aria-label', UPLOAD.of(name))
    return this
  }

  /** Say where it stands; `share` is of 0 to 1, null if it is not known. */
  say(text: string, share: number | null): void {
    this.#text.textContent = text
    this.#bar.hidden = false
    if (share === null) this.#bar.removeAttribute('value')
    else this.#bar.value = share
  }

  sayBytes(done: number, total: number): void {
    this.say(UPLOAD.sent(bytes(done), bytes(total)), total ? done / total : 0)
  }

  fail(...reasons: HTMLElement[]): void {
    this.#text.replaceChildren(...reasons)
    this.#bar.hidden = true
  }

  actions(...buttons: HTMLButtonElement[]): void {
    this.#actions.replaceChildren(...buttons)
  }

  remove(): void {
    this.#item.remove()
  }
}
