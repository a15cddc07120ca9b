/** From one object to the next, in an order that is chosen: the buttons, the keys n and p, and what the chosen one is. */

import { button, el } from './dom'
import { lookAt } from './look_at'
import { announce, report } from './notices'
import { linesOf, type ObjectPage, type ObjectView, pageOf } from './object_query'
import { OBJECTS } from './strings'
import type { JobView, ModelClass } from './types'
import type { SlideViewer } from './viewer'

const ORDERS = ['confidence', '-area', 'area', '-confidence', 'position'] as const
const PAGE = '50'
const NAME = 'object'
const TYPED_INTO = 'input:not([type=checkbox], [type=radio], [type=range]), select, textarea, dialog'
/** Of the view, what is too little for an object, and what it takes that was tiny in it, or larger than it. */
const LEAST = 0.05
const SHARE = 0.25

export class ObjectPanel {
  readonly element: HTMLElement
  readonly #order = el('select', { id: 'object-order' }, ...ORDERS.map((value) => el('option', { value, textContent: OBJECTS.orders[value] })))
  readonly #class = el('select', { id: 'object-class' })
  readonly #before = button(OBJECTS.before, () => this.#go(-1), OBJECTS.beforeLabel)
  readonly #next = button(OBJECTS.next, () => this.#go(1), OBJECTS.nextLabel)
  readonly #text = el('p', { id: 'chosen-object', className: 'hint', textContent: OBJECTS.howTo })
  #job: JobView | null = null
  #items: ObjectView[] = []
  #page: ObjectPage | null = null
  #at = -1
  #isBusy = false
  #work = new AbortController()

  /** `leastSure` gives the confidence, 0 to 1, below which objects are passed over. */
  constructor(
    private readonly viewer: SlideViewer,
    private readonly leastSure: () => number,
  ) {
    this.element = el(
      'div',
      { className: 'objects' },
      el('label', { className: 'line' }, OBJECTS.order, this.#order),
      el('label', { className: 'line' }, OBJECTS.ofClass, this.#class),
      el('div', { className: 'choices' }, this.#before, this.#next),
      this.#text,
    )
    for (const choice of [this.#order, this.#class]) choice.addEventListener('change', () => this.restart())
    document.addEventListener('keydown', (event) => this.#pressed(event))
  }

  /** Go through the objects of a job that has succeeded; null: through none. */
  show(job: JobView | null, classes: readonly ModelClass[]): void {
    if (job?.id === this.#job?.id) return
    this.#job = job
    const names = classes.filter(({ index }) => index > 0).map(({ name }) => name)
    this.#class.replaceChildren(el('option', { value: '', textContent: OBJECTS.all }), ...names.map((name) => el('option', { value: name, textContent: name })))
    this.restart()
  }

  /** Begin again with the first one. */
  restart(): void {
    this.#work.abort()
    this.#work = new AbortController()
    this.#isBusy = false
    this.#items = []
    this.#page = null
    this.#at = -1
    this.choose(null)
  }

  /** Mark an object and say what it is; null marks none. */
  choose(found: ObjectView | null): void {
    this.viewer.sketches.set(NAME, found && { lines: linesOf(found), isClosed: true, kind: 'object' })
    this.#text.textContent = found === null ? OBJECTS.howTo : this.#words(found)
    if (found !== null) announce(this.#words(found))
  }

  #words(found: ObjectView): string {
    const place = found === this.#items[this.#at] ? OBJECTS.place(this.#at + 1, this.#page?.total ?? 0) : null
    return [OBJECTS.short(found.class_name, found.area_um2, found.confidence), found.touches_border && OBJECTS.border, place].filter(Boolean).join(' · ')
  }

  #pressed(event: KeyboardEvent): void {
    const isTyping = event.target instanceof HTMLElement && event.target.closest(TYPED_INTO) !== null
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || this.#job === null) return
    if (event.key === 'n') this.#go(1)
    if (event.key === 'p') this.#go(-1)
  }

  #go(step: number): void {
    if (this.#isBusy || this.#job === null) return
    this.#isBusy = true
    const { signal } = this.#work
    this.#step(step, signal)
      .catch((error: unknown) => {
        if (!signal.aborted) report(error)
      })
      .finally(() => {
        if (!signal.aborted) this.#isBusy = false
      })
  }

  async #step(step: number, signal: AbortSignal): Promise<void> {
    const wanted = Math.max(0, this.#at + step)
    if (wanted >= this.#items.length && (this.#page === null || this.#page.next_cursor !== null)) await this.#more(signal)
    const found = this.#items[wanted]
    if (found === undefined) {
      this.#text.textContent = this.#items.length === 0 ? OBJECTS.none : OBJECTS.last
      announce(this.#text.textContent)
      return
    }
    this.#at = wanted
    lookAt(this.viewer, found.bbox, LEAST, SHARE)
    this.choose(found)
  }

  async #more(signal: AbortSignal): Promise<void> {
    const question: Record<string, string> = { order: this.#order.value, limit: PAGE, shapes: 'true', cursor: this.#page?.next_cursor ?? '0' }
    if (this.#class.value !== '') question['class'] = this.#class.value
    if (this.leastSure() > 0) question['min_confidence'] = String(this.leastSure())
    this.#page = await pageOf(this.#job?.id ?? '', question, signal, () => {
      this.#text.textContent = OBJECTS.making
    })
    this.#items.push(...this.#page.items)
  }
}
