/** µm per pixel: what the slide says, what a person keeps on it, and what is given for one job. */

import { send } from './api'
import { byId } from './dom'
import { clearNotices, report } from './notices'
import type { Mpp } from './shapes'
import { PIXEL } from './strings'
import type { SlideInfo } from './types'

export class PixelSize {
  readonly #field = byId('mpp', HTMLInputElement)
  readonly #hint = byId('mpp-hint', HTMLElement)
  readonly #keep = byId('keep-mpp', HTMLButtonElement)
  readonly #drop = byId('drop-mpp', HTMLButtonElement)
  #slide: SlideInfo | null = null

  /** `onChange` is told the slide as it is kept now, `onInput` that the next job gets another number than before. */
  constructor(
    private readonly onChange: (slide: SlideInfo) => void,
    private readonly onInput: () => void,
  ) {
    this.#keep.addEventListener('click', () => {
      if (this.#field.reportValidity()) void this.#give(Number(this.#field.value)).catch(report)
    })
    this.#drop.addEventListener('click', () => void this.#give(null).catch(report))
    this.#field.addEventListener('input', () => {
      this.#offer()
      this.onInput()
    })
  }

  show(slide: SlideInfo): void {
    const { mpp_x: own, mpp_origin: origin, implausible_mpp: odd } = slide.geometry
    this.#slide = slide
    this.#field.value = ''
    this.#field.required = own === null
    this.#field.placeholder = own === null ? PIXEL.example : String(Number(own.toPrecision(5)))
    if (own === null) this.#hint.textContent = odd ? PIXEL.odd(odd) : PIXEL.unknown
    else this.#hint.textContent = origin === 'person' ? PIXEL.kept(slide.file_mpp?.mpp_x ?? null) : PIXEL.ofFile
    this.#drop.hidden = slide.file_mpp == null
    this.#offer()
  }

  /** Return what the next job is to be told; nothing where the file knows it. */
  forJob(): { mpp?: number } {
    if (this.#field.value !== '') return { mpp: Number(this.#field.value) }
    const geometry = this.#slide?.geometry
    // What a person keeps on the slide may change: the job says which it was.
    return geometry?.mpp_origin === 'person' && geometry.mpp_x !== null ? { mpp: geometry.mpp_x } : {}
  }

  /** Return what the next job takes. */
  current(): Mpp {
    const given = Number(this.#field.value)
    const { mpp_x: x = null, mpp_y: y = null } = this.#slide?.geometry ?? {}
    if (given > 0) return [given, given]
    return x === null || y === null ? null : [x, y]
  }

  #offer(): void {
    this.#keep.disabled = this.#field.value === ''
  }

  async #give(mpp: number | null): Promise<void> {
    const slide = this.#slide
    if (slide === null) return
    clearNotices()
    const headers = { 'Content-Type': 'application/json' }
    const answer = await send(`/v1/slides/${slide.id}`, { method: 'PATCH', headers, body: JSON.stringify({ mpp }) })
    const kept = (await answer.json()) as SlideInfo
    if (this.#slide?.id === kept.id) {
      this.show(kept)
      this.onInput()
    }
    this.onChange(kept)
  }
}
