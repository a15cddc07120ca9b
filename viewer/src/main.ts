/** The page: what is chosen in one part is handed to the others. */

import './theme.css'
import './style.css'
import './stage.css'
import './sketches.css'
import './library.css'
import './review.css'
import { currentKey, enterKey, findJson, forgetKey, isKeyWanted, keyEvents, postJson } from './api'
import { Cohorts } from './cohort'
import { Review } from './corrections'
import { byId } from './dom'
import { JobList } from './jobs'
import { Layers } from './layers'
import { showLink } from './link_box'
import { Measuring } from './measuring'
import { announce, clearNotices, report } from './notices'
import { ResultPanel } from './result'
import { ringsOf } from './shapes'
import { fillChoices, Slides } from './slides'
import { LIST } from './strings'
import { SubmitForm } from './submit_form'
import type { BatchView, JobView, SlideInfo } from './types'
import { Uploads } from './uploads'
import { formatView, parseView, type View } from './view_link'
import { SlideViewer } from './viewer'

const ZOOM_STEP = 1.6

class App {
  readonly #viewer = new SlideViewer(() => this.#writeLink(), () => void this.#openAgain().catch(report))
  readonly #slides = new Slides(
    (slide) => void this.#openSlide(slide, null).catch(report),
    (slides) => this.#startOnAll(slides),
  )
  readonly #jobs = new JobList(
    (job) => void this.#showResult(job).catch(report),
    (job) => this.#showRegion(job),
    (job) => this.#form.where.take(job.request.roi),
    () => {
      this.#slides.jobsChanged()
      this.#layers.jobsChanged()
    },
  )
  readonly #form = new SubmitForm(this.#viewer, (job) => this.#jobs.add(job), (slide) => void this.#slideChanged(slide).catch(report))
  readonly #result = new ResultPanel(this.#viewer, (model) => this.#form.classesOf(model))
  readonly #review = new Review(this.#viewer, (model) => this.#form.classesOf(model))
  readonly #cohorts = new Cohorts()
  readonly #layers = new Layers(this.#viewer, (model) => this.#form.classesOf(model), () => this.#writeLink(), () => this.#review.isOn())
  readonly #measuring = new Measuring(this.#viewer)
  readonly #uploads = new Uploads((slideId) => void this.#arrived(slideId).catch(report))
  #slide: SlideInfo | null = null
  /** Of two slides that were asked for, the later one counts. */
  #turn = 0
  #isOpening = false
  #isLoading = false

  async start(): Promise<void> {
    this.#wire()
    await this.#load()
  }

  /** Read what there is, and open what the address names. */
  async #load(): Promise<void> {
    this.#isLoading = true
    try {
      await Promise.all([this.#form.load(), this.#slides.refresh(), this.#uploads.restore(), this.#cohorts.refresh()])
      await this.#goToLink()
    } finally {
      this.#isLoading = false
      this.#showKeyState()
    }
  }

  #wire(): void {
    byId('zoom-in', HTMLButtonElement).onclick = () => this.#viewer.zoomBy(ZOOM_STEP)
    byId('zoom-out', HTMLButtonElement).onclick = () => this.#viewer.zoomBy(1 / ZOOM_STEP)
    byId('home', HTMLButtonElement).onclick = () => this.#viewer.home()
    byId('turn', HTMLButtonElement).onclick = () => this.#viewer.turn()
    byId('mirror', HTMLButtonElement).onclick = () => this.#viewer.mirror()
    for (const step of document.querySelectorAll<HTMLButtonElement>('button[data-magnification]')) {
      step.onclick = () => this.#viewer.magnify(Number(step.dataset['magnification']))
    }
    byId('copy-link', HTMLButtonElement).onclick = () => {
      this.#writeLink()
      void showLink(location.href)
    }
    byId('enter-key', HTMLButtonElement).onclick = () => void enterKey()
    byId('forget-key', HTMLButtonElement).onclick = () => {
      forgetKey()
      location.assign('.')
    }
    addEventListener('hashchange', () => void this.#goToLink().catch(report))
    keyEvents.addEventListener('change', () => this.#keyChanged())
    keyEvents.addEventListener('declined', () => this.#showKeyState())
  }

  /** With a new key everything is asked for anew, also what the old one did not open any more. */
  #keyChanged(): void {
    this.#showKeyState()
    if (this.#isLoading) return // the requests on their way go on with it
    clearNotices()
    this.#slide = null
    void this.#load().catch(report)
  }

  #showKeyState(): void {
    byId('enter-key', HTMLButtonElement).hidden = !isKeyWanted()
    byId('forget-key', HTMLButtonElement).hidden = currentKey() === null
  }

  /** Show a slide that has just come up, unless another one is being looked at. */
  async #arrived(slideId: string): Promise<void> {
    await this.#slides.refresh()
    const slide = await findJson<SlideInfo>(`/v1/slides/${slideId}`)
    if (this.#slide === null && slide !== null) await this.#openSlide(slide, null)
  }

  async #goToLink(): Promise<void> {
    const view = parseView(location.hash)
    if (view.slide === null) return
    this.#layers.take(view.layers)
    if (view.slide === this.#slide?.id) {
      if (view.job !== null && view.job !== this.#result.jobId()) await this.#jobs.open(view.job)
      if (view.place !== null) this.#viewer.goTo(view.place)
      return
    }
    const turn = ++this.#turn
    const slide = await findJson<SlideInfo>(`/v1/slides/${view.slide}`)
    if (turn !== this.#turn) return
    await this.#openSlide(slide, slide && view)
    if (slide === null) report(new Error(LIST.gone))
  }

  async #openAgain(): Promise<void> {
    await this.#openSlide(this.#slide, parseView(location.hash))
  }

  async #openSlide(slide: SlideInfo | null, view: View | null): Promise<void> {
    const turn = ++this.#turn
    this.#slide = slide
    this.#isOpening = true
    this.#jobs.clear()
    this.#measuring.clear()
    clearNotices()
    this.#slides.mark(slide?.id ?? null)
    byId('chosen', HTMLElement).hidden = slide === null
    byId('welcome', HTMLElement).hidden = slide !== null
    byId('stage', HTMLElement).classList.toggle('empty', slide === null)
    document.title = slide ? `${slide.filename} – L-Diffusion` : 'L-Diffusion'
    if (slide === null) {
      this.#isOpening = false
      this.#viewer.close()
      history.replaceState(null, '', location.pathname)
      return
    }
    const name = byId('chosen-name', HTMLElement)
    name.textContent = name.title = slide.filename
    this.#form.show(slide)
    try {
      const isShown = await this.#viewer.open(slide, view?.place ?? null)
      if (isShown) await this.#jobs.show(slide, view?.job ?? null)
      if (turn === this.#turn) this.#form.fold(!this.#jobs.isEmpty())
    } finally {
      if (turn === this.#turn) this.#isOpening = false
    }
    this.#writeLink()
  }

  /** Read all that depends on the slide anew; what is looked at stays. */
  async #slideChanged(slide: SlideInfo): Promise<void> {
    this.#slides.replace(slide)
    if (this.#slide?.id !== slide.id) return
    this.#slide = slide
    const { mpp_x, mpp_y } = slide.geometry
    this.#viewer.setMpp(mpp_x, mpp_y)
    await this.#jobs.show(slide, this.#result.jobId())
  }

  async #showResult(job: JobView | null): Promise<void> {
    const isOther = (job?.id ?? null) !== this.#result.jobId()
    const shown = this.#result.show(job, this.#slide)
    if (isOther) this.#writeLink()
    await Promise.all([shown, this.#review.show(job, this.#slide), this.#layers.show(job, this.#slide, shown)])
  }

  /** Start the job that the form describes on each of these slides, on all of it. */
  async #startOnAll(slides: SlideInfo[]): Promise<void> {
    clearNotices()
    const slide_ids = slides.map(({ id }) => id)
    const { items } = await postJson<BatchView>('/v1/batches', { ...this.#form.asked(), slide_ids })
    const names = new Map(slides.map(({ id, filename }) => [id, filename]))
    const refused = items.filter(({ error }) => error !== null)
    const made = LIST.batch(items.length - refused.length)
    byId('picked-note', HTMLElement).textContent = made
    announce(made)
    const reasons = refused.map(({ slide_id, error }) => LIST.refused(names.get(slide_id) ?? '', error?.message ?? ''))
    if (reasons.length > 0) report(new Error(reasons.join(' ')))
    this.#slides.jobsChanged()
    void this.#cohorts.refresh().catch(report)
    if (this.#slide !== null && names.has(this.#slide.id)) await this.#jobs.show(this.#slide, this.#result.jobId())
  }

  #showRegion(job: JobView | null): void {
    const region = job?.request.roi ?? null
    this.#viewer.sketches.set('job', region && { lines: ringsOf(region), isClosed: true, kind: 'job' })
  }

  #writeLink(): void {
    if (this.#isOpening || this.#slide === null) return
    const view = { slide: this.#slide.id, job: this.#result.jobId(), place: this.#viewer.place(), layers: this.#layers.state() }
    history.replaceState(null, '', formatView(view))
  }
}

fillChoices()
new App().start().catch(report)
