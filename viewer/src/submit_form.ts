/** The form that starts a job on the slide that is shown. */

import { getJson, postJson } from './api'
import { byId, el } from './dom'
import { clearNotices, report } from './notices'
import { PixelSize } from './pixel_size'
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
  readonly where: Where
  #cards: ModelCard[] = []
  #slide: SlideInfo | null = null

  constructor(
    viewer: SlideViewer,
    private readonly onSubmit: (job: JobView) => void,
    onSlide: (slide: SlideInfo) => void,
  ) {
    this.#pixelSize = new PixelSize(onSlide)
    this.where = new Where(viewer)
    this.#models.addEventListener('change', () => this.#describe())
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault()
      void this.#send()
    })
  }

  /** Read the installed models; what is chosen stays so. */
  async load(): Promise<void> {
    this.#cards = (await getJson<Page<ModelCard>>('/v1/models')).items
    const wanted = [this.#models.value, DEFAULT_MODEL]
    this.#models.replaceChildren(
      // The name comes first: titles that begin alike are cut alike.
      ...this.#cards.map(({ name, title }) => el('option', { value: name, textContent: `${name}: ${title}` })),
    )
    const chosen = wanted.find((wish) => this.#cards.some(({ name }) => name === wish))
    if (chosen !== undefined) this.#models.value = chosen
    this.#describe()
  }

  /** Offer jobs on this slide. */
  show(slide: SlideInfo): void {
    this.#slide = slide
    this.where.show(slide)
    this.#pixelSize.show(slide)
  }

  /** Return the classes of a model, none if it is not installed any more. */
  classesOf(model: string): ModelCard['classes'] {
    return this.#cards.find((card) => card.name === model)?.classes ?? []
  }

  #describe(): void {
    const card = this.#cards.find(({ name }) => name === this.#models.value)
    byId('model-hint', HTMLElement).textContent = card
      ? `${card.title}. Works at ${card.mpp} µm per pixel. ${card.intended_use} ${card.license}`
      : 'The server has no model installed.'
  }

  async #send(): Promise<void> {
    if (this.#slide === null) return
    const start = byId('start', HTMLButtonElement)
    start.disabled = true
    clearNotices()
    try {
      const mpp = this.#pixelSize.forJob()
      const on_bad_tile = this.#tolerant.checked ? 'mask' : 'fail'
      const region = this.where.region()
      const roi = region === null ? {} : { roi: region }
      const asked = { slide_id: this.#slide.id, model: this.#models.value, tissue: this.#tissue.checked, on_bad_tile }
      this.onSubmit(await postJson<JobView>('/v1/jobs', { ...asked, ...mpp, ...roi }))
    } catch (error) {
      report(error)
    } finally {
      start.disabled = false
    }
  }
}
