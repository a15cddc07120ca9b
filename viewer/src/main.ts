/** The page: what is chosen in one part is handed to the others. */

import './style.css'
import { forgetKey, getJson, hasKey } from './api'
import { button, byId, el } from './dom'
import { JobList } from './jobs'
import { report } from './notices'
import { ResultPanel } from './result'
import { Slides } from './slides'
import { SubmitForm } from './submit_form'
import type { JobView, SlideInfo } from './types'
import { Uploads } from './uploads'
import { formatView, parseView, type View } from './view_link'
import { SlideViewer } from './viewer'

const ZOOM_STEP = 1.6

class App {
  readonly #viewer = new SlideViewer(() => this.#writeLink())
  readonly #slides = new Slides((slide) => void this.#openSlide(slide, null).catch(report))
  readonly #jobs = new JobList((job) => void this.#showResult(job).catch(report))
  readonly #form = new SubmitForm((job) => this.#jobs.add(job))
  readonly #result = new ResultPanel(this.#viewer, (model) => this.#form.classesOf(model))
  readonly #uploads = new Uploads((slideId) => void this.#arrived(slideId).catch(report))
  #slide: SlideInfo | null = null
  #isOpening = true

  async start(): Promise<void> {
    this.#wire()
    await Promise.all([this.#form.load(), this.#slides.refresh(), this.#uploads.restore()])
    byId('forget-key', HTMLButtonElement).hidden = !hasKey()
    await this.#goToLink()
    addEventListener('hashchange', () => void this.#goToLink().catch(report))
  }

  #wire(): void {
    byId('zoom-in', HTMLButtonElement).onclick = () => this.#viewer.zoomBy(ZOOM_STEP)
    byId('zoom-out', HTMLButtonElement).onclick = () => this.#viewer.zoomBy(1 / ZOOM_STEP)
    byId('home', HTMLButtonElement).onclick = () => this.#viewer.home()
    byId('copy-link', HTMLButtonElement).onclick = () => void this.#copyLink()
    byId('forget-key', HTMLButtonElement).onclick = () => {
      forgetKey()
      location.assign('/')
    }
  }

  async #arrived(slideId: string): Promise<void> {
    await this.#slides.refresh()
    await this.#openSlide(await getJson<SlideInfo>(`/v1/slides/${slideId}`), null)
  }

  async #goToLink(): Promise<void> {
    const view = parseView(location.hash)
    if (view.slide === null) {
      this.#isOpening = false
      return
    }
    if (view.slide === this.#slide?.id) {
      if (view.job !== null && view.job !== this.#result.jobId()) this.#jobs.choose(view.job)
      if (view.place !== null) this.#viewer.goTo(view.place)
      return
    }
    await this.#openSlide(await getJson<SlideInfo>(`/v1/slides/${view.slide}`), view)
  }

  async #openSlide(slide: SlideInfo | null, view: View | null): Promise<void> {
    this.#slide = slide
    this.#slides.mark(slide?.id ?? null)
    byId('chosen', HTMLElement).hidden = slide === null
    byId('welcome', HTMLElement).hidden = slide !== null
    byId('stage', HTMLElement).classList.toggle('empty', slide === null)
    document.title = slide ? `${slide.filename} – L-Diffusion` : 'L-Diffusion'
    if (slide === null) {
      await this.#jobs.show(null, null)
      history.replaceState(null, '', location.pathname)
      return
    }
    byId('chosen-name', HTMLElement).textContent = slide.filename
    this.#form.show(slide)
    this.#isOpening = true
    try {
      await this.#viewer.open(slide, view?.place ?? null)
      await this.#jobs.show(slide.id, view?.job ?? null)
    } finally {
      this.#isOpening = false
    }
    this.#writeLink()
  }

  async #showResult(job: JobView | null): Promise<void> {
    const isOther = job !== null && job.id !== this.#result.jobId()
    const shown = this.#result.show(job, this.#slide)
    if (isOther) this.#writeLink()
    await shown
  }

  #writeLink(): void {
    if (this.#isOpening || this.#slide === null) return
    const view = { slide: this.#slide.id, job: this.#result.jobId(), place: this.#viewer.place() }
    history.replaceState(null, '', formatView(view))
  }

  async #copyLink(): Promise<void> {
    this.#writeLink()
    const field = el('input', { readOnly: true, value: location.href })
    field.setAttribute('aria-label', 'Link to this view')
    const box = byId('link', HTMLElement)
    box.replaceChildren(field, button('Close', () => box.replaceChildren()))
    field.select()
    // Off TLS and off this machine a page may not write to the clipboard; the field is there to copy from.
    await navigator.clipboard?.writeText(location.href).catch(() => undefined)
  }
}

new App().start().catch(report)
