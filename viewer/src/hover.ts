/** What lies under the pointer: class, area and confidence of an object, in a few words beside it. */

import { el } from './dom'
import { report } from './notices'
import { holds, linesOf, objectAt, type ObjectView } from './object_query'
import type { Point } from './plane'
import { OBJECTS } from './strings'
import type { SlideViewer } from './viewer'

/** A pointer that stays for so long is answered. */
const REST_MS = 120
const BESIDE_PX = 14
const NAME = 'hover'

export class Hover {
  readonly #note = el('div', { id: 'under-pointer', hidden: true })
  #jobId: string | null = null
  #timer = 0
  #asked = new AbortController()
  #found: ObjectView | null = null

  /** `onClick` is told the object that was clicked or tapped, and null where there is none. */
  constructor(
    private readonly viewer: SlideViewer,
    onClick: (found: ObjectView | null) => void,
  ) {
    const { osd } = viewer
    this.#note.setAttribute('aria-hidden', 'true') // what is chosen is said in the panel
    osd.element.parentElement?.append(this.#note)
    osd.element.addEventListener('pointermove', (event) => this.#moved(event))
    for (const end of ['pointerleave', 'pointerdown', 'wheel'] as const) osd.element.addEventListener(end, () => this.#clear(), { passive: true })
    osd.addHandler('canvas-click', (event) => {
      if (event.quick) void this.#clicked(event.originalEvent as MouseEvent).then(onClick).catch(report)
    })
  }

  /** Tell of the objects of a job; of null nothing. */
  of(jobId: string | null): void {
    if (jobId === this.#jobId) return
    this.#jobId = jobId
    this.#clear()
  }

  async #clicked(event: MouseEvent): Promise<ObjectView | null> {
    const at = this.viewer.plane.under(event)
    if (this.#jobId === null || at === null) return null
    if (this.#found !== null && holds(this.#found, at)) return this.#found
    return objectAt(this.#jobId, at, new AbortController().signal)
  }

  #moved(event: PointerEvent): void {
    const at = event.pointerType === 'mouse' && event.buttons === 0 ? this.viewer.plane.under(event) : null
    if (this.#jobId === null || at === null) return
    if (this.#found !== null && holds(this.#found, at)) {
      this.#show(this.#found, event)
      return
    }
    this.#clear()
    this.#timer = window.setTimeout(() => void this.#ask(at, event).catch(() => undefined), REST_MS)
  }

  /** Ask what is there. What the server refuses is told by the buttons that ask for the same, not here. */
  async #ask(at: Point, event: PointerEvent): Promise<void> {
    const jobId = this.#jobId
    if (jobId === null) return
    const asked = new AbortController()
    this.#asked = asked
    const found = await objectAt(jobId, at, asked.signal)
    if (asked.signal.aborted || found === null || jobId !== this.#jobId) return
    this.#found = found
    this.#show(found, event)
    this.viewer.sketches.set(NAME, { lines: linesOf(found), isClosed: true, kind: 'object' })
  }

  #show(found: ObjectView, event: PointerEvent): void {
    this.#note.textContent = OBJECTS.short(found.class_name, found.area_um2, found.confidence)
    this.#note.hidden = false
    const box = (this.#note.parentElement ?? document.body).getBoundingClientRect()
    const [x, y] = [event.clientX - box.left, event.clientY - box.top]
    const left = x + BESIDE_PX + this.#note.offsetWidth > box.width ? x - BESIDE_PX - this.#note.offsetWidth : x + BESIDE_PX
    const top = y + BESIDE_PX + this.#note.offsetHeight > box.height ? y - BESIDE_PX - this.#note.offsetHeight : y + BESIDE_PX
    Object.assign(this.#note.style, { left: `${left}px`, top: `${top}px` })
  }

  #clear(): void {
    window.clearTimeout(this.#timer)
    this.#asked.abort()
    this.#note.hidden = true
    if (this.#found !== null) this.viewer.sketches.set(NAME, null)
    this.#found = null
  }
}
