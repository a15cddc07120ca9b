/** The form that starts a job on the slide that is shown. */

import { getJson, postJson } from './api'
import { byId, el } from './dom'
import { clearNotices, report } from './notices'
import { cardOf, unsuited } from './model_card'
import { PixelSize } from './pixel_size'
import { CARD } from './strings'
import type { JobView, ModelCard, Page, SlideInfo } from './types'
import { Where } from './where'
import type { SlideViewer } from './viewer'

/** What the server takes where a job names no model. */
const DEFAULT_MODEL = 'nuclei'

export class SubmitForm {
  readonly #form = byId('submit', HTMLFormElement)
  readonly #models = byId('model', HTMLSelectElement)
  readonly #pixelSize: PixelSize
  readonly #tissue = byId('tissue', HTMLInputElement)
  readonly #tolerant = byId('tolerant', HTMLInputElement)
  readonly #settings = byId('settings', HTMLDetailsElement)
  readonly where: Where
  #cards: ModelCard[] = []
  #slide: SlideInfo | null = null

  constructor(
    viewer: SlideViewer,
    private readonly onSubmit: (job: JobView) => void,
    onSlide: (slide: SlideInfo) => void,
  ) {
    this.#pixelSize = new PixelSize(onSlide, () => this.#describe())
    this.where = new Where(viewer)
    this.#models.addEventListener('change', () => this.#describe())
    this.#form.addEventListener('invalid', () => (this.#settings.open = true), { capture: true })
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault()
      void this.#send()
    })
  }

  /** Read the installed models; what is chosen stays so. */
  async load(): Promise<void> {
    this.#cards = (await getJson<Page<ModelCard>>('/v1/models')).items
    const wanted = [this.#models.value, DEFAULT_MODEL]
    this.#models.replaceChildren(...this.#cards.map(({ name }) => el('option', { value: name, textContent: this.#titleOf(name) })))
    const chosen = wanted.find((wish) => this.#cards.some(({ name }) => name === wish))
    if (chosen !== undefined) this.#models.value = chosen
    this.#describe()
  }

  /** Offer jobs on this slide. */
  show(slide: SlideInfo): void {
    this.#slide = slide
    this.where.show(slide)
    this.#pixelSize.show(slide)
    this.#describe()
  }

  /** Fold what is seldom changed, once something has been segmented; open it where something has to be filled in. */
  fold(isFolded: boolean): void {
    this.#settings.open = !isFolded || this.#pixelSize.current() === null
  }

  /** Return the classes of a model, none if it is not installed any more. */
  classesOf(model: string): ModelCard['classes'] {
    return this.#cards.find((card) => card.name === model)?.classes ?? []
  }

  /** Return what is asked of any slide. */
  asked(): { model: string; tissue: boolean; on_bad_tile: 'mask' | 'fail' } {
    return { model: this.#models.value, tissue: this.#tissue.checked, on_bad_tile: this.#tolerant.checked ? 'mask' : 'fail' }
  }

  /** Say what the chosen model is, and grey those that do not suit the slide. */
  #describe(): void {
    const reasons = new Map(this.#cards.map((card) => [card.name, this.#unsuited(card)]))
    for (const option of this.#models.options) {
      const reason = reasons.get(option.value) ?? null
      option.disabled = reason !== null
      option.title = reason ?? ''
      option.textContent = [this.#titleOf(option.value), reason && `(${CARD.unsuited})`].filter(Boolean).join(' ')
    }
    const card = this.#cards.find(({ name }) => name === this.#models.value)
    const reason = reasons.get(this.#models.value) ?? null
    const hint = byId('model-hint', HTMLElement)
    hint.classList.toggle('error', reason !== null)
    hint.textContent = reason ?? (card ? CARD.line(card.title, card.mpp) : CARD.none)
    byId('card', HTMLElement).hidden = card === undefined
    if (card) byId('card-body', HTMLElement).replaceChildren(...cardOf(card))
  }

  /** The name comes first: titles that begin alike are cut alike. */
  #titleOf(model: string): string {
    return `${model}: ${this.#cards.find(({ name }) => name === model)?.title ?? ''}`
  }

  #unsuited(card: ModelCard): string | null {
    return this.#slide && unsuited(card, this.#slide, this.#pixelSize.current())
  }

  async #send(): Promise<void> {
    if (this.#slide === null) return
    const start = byId('start', HTMLButtonElement)
    start.disabled = true
    clearNotices()
    try {
      const region = this.where.region()
      const { mpp } = this.#pixelSize.forJob()
      const own = { slide_id: this.#slide.id, ...(mpp === undefined ? {} : { mpp }), ...(region === null ? {} : { roi: region }) }
      this.onSubmit(await postJson<JobView>('/v1/jobs', { ...this.asked(), ...own }))
    } catch (error) {
      report(error)
    } finally {
      start.disabled = false
    }
  }
}
