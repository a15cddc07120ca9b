/** Why a result cannot be trusted as it is, and where: from place to place by buttons, and by the keys w and W. */

import { findJson } from './api'
import { button, byId, el } from './dom'
import { type Box, lookAt } from './look_at'
import { announce } from './notices'
import { WARNINGS } from './strings'
import type { JobView, SlideInfo, TrustWarning } from './types'
import type { SlideViewer } from './viewer'

const NAME = 'warning'
const TYPED_INTO = 'input:not([type=checkbox], [type=radio], [type=range]), select, textarea, dialog'
/** Of the view, what is too little for a place, and what it takes where the zoom changes. */
const LEAST = 0.3
const SHARE = 0.6

interface Stop {
  warning: TrustWarning
  box: Box
  /** Which of the places of its warning it is, from 0. */
  place: number
}

export class WarningList {
  readonly #list = byId('warnings', HTMLElement)
  readonly #note = byId('warning-place', HTMLElement)
  #stops: Stop[] = []
  #at = -1
  #count = 0
  /** What is shown: it is not drawn anew, and not begun anew, when the same is told again. */
  #shown = ''

  constructor(private readonly viewer: SlideViewer) {
    // Taken before the slide's own keys, of which `w` moves the view.
    document.addEventListener('keydown', (event) => this.#pressed(event), { capture: true })
  }

  /** Show the warnings of a job, or of its slide as long as the job has none of its own; lists tell no places. */
  async show(job: JobView | null, slide: SlideInfo): Promise<void> {
    const warnings = job !== null && job.warnings.length > 0 ? job.warnings : slide.warnings
    const shown = JSON.stringify([slide.id, job?.id, warnings.map(({ code, value, places_count }) => [code, value, places_count])])
    if (shown === this.#shown) return
    this.#shown = shown
    this.#fill(warnings)
    if (job === null || !warnings.some(({ places, places_count }) => places.length === 0 && places_count > 0)) return
    const whole = await findJson<JobView>(`/v1/jobs/${job.id}`).catch(() => null)
    if (whole !== null && shown === this.#shown) this.#fill(whole.warnings)
  }

  #fill(warnings: TrustWarning[]): void {
    this.#stops = warnings.flatMap((warning) => warning.places.map((box, place) => ({ warning, box, place })))
    this.#count = warnings.length
    this.#at = -1
    this.viewer.sketches.set(NAME, null)
    this.#list.hidden = warnings.length === 0
    this.#note.hidden = this.#stops.length === 0
    this.#note.textContent = WARNINGS.howTo
    this.#list.replaceChildren(...warnings.map((warning) => this.#entry(warning)))
  }

  #entry(warning: TrustWarning): HTMLElement {
    const entry = el('li', { title: warning.code, textContent: textOf(warning) })
    if (warning.places.length > 0) {
      const places = WARNINGS.places(warning.places_count)
      entry.append(' ', button(places, () => this.#goWithin(warning), WARNINGS.of(places, textOf(warning))))
    }
    return entry
  }

  #pressed(event: KeyboardEvent): void {
    const isTyping = event.target instanceof HTMLElement && event.target.closest(TYPED_INTO) !== null
    const step = { w: 1, W: -1 }[event.key]
    if (step === undefined || isTyping || event.ctrlKey || event.metaKey || event.altKey || byId('result', HTMLElement).hidden) return
    event.preventDefault()
    event.stopPropagation()
    this.#go(this.#at < 0 && step < 0 ? this.#stops.length - 1 : this.#at + step)
  }

  /** Go to the next place of one warning. */
  #goWithin(warning: TrustWarning): void {
    const first = this.#stops.findIndex((stop) => stop.warning === warning)
    const isHere = this.#stops[this.#at]?.warning === warning && this.#stops[this.#at + 1]?.warning === warning
    this.#go(isHere ? this.#at + 1 : first)
  }

  /** Fly to a place and frame it; after the last one comes the first. */
  #go(to: number): void {
    const count = this.#stops.length
    this.#at = count === 0 ? -1 : (to + count) % count
    const stop = this.#stops[this.#at]
    if (stop === undefined) {
      this.#say(this.#count === 0 ? WARNINGS.none : WARNINGS.nowhere)
      return
    }
    const [x0, y0, x1, y1] = stop.box
    const corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]].map(([x = 0, y = 0]) => ({ x, y }))
    lookAt(this.viewer, stop.box, LEAST, SHARE)
    this.viewer.sketches.set(NAME, { lines: [corners], isClosed: true, kind: 'warning' })
    const { places, places_count, message } = stop.warning
    const rest = places.length < places_count ? WARNINGS.largestOf(places_count) : ''
    this.#say(`${message} ${WARNINGS.at(stop.place + 1, places.length)}${rest}.`)
  }

  #say(text: string): void {
    this.#note.hidden = false
    this.#note.textContent = text
    announce(text)
  }
}

function textOf({ message, value }: TrustWarning): string {
  return value === null ? message : `${message} (${value})`
}
