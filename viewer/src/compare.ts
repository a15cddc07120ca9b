/** Two jobs of a slide, or a job and the slide alone: side by side, or one below the other with a line between. */

import { getJson } from './api'
import { byId, el } from './dom'
import { type Arrangement, BARE, type LayerState } from './layer_state'
import { moment } from './measure'
import { report } from './notices'
import { Look } from './overlay'
import { Palette } from './palette'
import { Pane } from './pane'
import { inShort } from './parameters'
import { COMPARE } from './strings'
import { Swipe } from './swipe'
import type { JobView, ModelClass, Page, SlideInfo } from './types'
import type { SlideViewer } from './viewer'

const LABELS = 'labels.ome.tif'
const PAGE = 50

export class Compare {
  readonly element: HTMLElement
  readonly #with = el('select', { id: 'compare-with' })
  readonly #ways = { side: radio('compare-side'), swipe: radio('compare-swipe') }
  readonly #stage = byId('stage', HTMLElement)
  readonly #names = { this: byId('name-this', HTMLElement), other: byId('name-other', HTMLElement) }
  readonly #swipe: Swipe
  #pane: Pane | null = null
  #slide: SlideInfo | null = null
  #job: JobView | null = null
  #others: JobView[] = []
  /** Of an address that was not shown yet. */
  #wanted: { id: string | null } | null = null
  #turn = 0

  /** `sure` gives the confidence, per cent, below which nothing is drawn; `onChange` is told that the address has to say something else, `onOther` the job that is compared with. */
  constructor(
    private readonly viewer: SlideViewer,
    private readonly classesOf: (model: string) => ModelClass[],
    private readonly sure: () => number,
    private readonly onChange: () => void,
    private readonly onOther: (jobId: string | null) => void,
  ) {
    this.#swipe = new Swipe(byId('other', HTMLElement), onChange)
    const ways = (['side', 'swipe'] as const).map((way) => el('label', { className: 'line' }, this.#ways[way], COMPARE.ways[way]))
    this.element = el('div', {}, el('label', { className: 'line' }, COMPARE.title, this.#with), el('fieldset', { className: 'line' }, el('legend', { className: 'for-readers', textContent: COMPARE.how }), ...ways))
    this.#ways.side.checked = true
    this.#with.addEventListener('change', () => this.#changed())
    for (const way of Object.values(this.#ways)) way.addEventListener('change', () => this.#changed())
    const opacity = byId('opacity', HTMLInputElement)
    opacity.addEventListener('input', () => this.#pane?.overlay.setOpacity(Number(opacity.value) / 100))
    // How classes are drawn holds for both pictures; the first one has heard of it already.
    for (const id of ['outlines', 'fill', 'legend', 'class-paints']) byId(id, HTMLElement).addEventListener('change', () => this.#drawn())
  }

  state(): Pick<LayerState, 'with' | 'by' | 'at'> {
    return { with: this.#wanted === null ? this.#with.value || null : this.#wanted.id, by: this.#way(), at: this.#swipe.at() }
  }

  /** Take what an address says. It is shown with the next job. */
  take(state: LayerState): void {
    this.#wanted = { id: state.with }
    this.#ways[state.by].checked = true
    this.#swipe.move(state.at)
  }

  /** Offer to compare a job that has succeeded; null ends it. */
  async show(job: JobView | null, slide: SlideInfo | null): Promise<void> {
    const wanted = this.state().with
    this.#wanted = { id: wanted }
    const turn = ++this.#turn
    this.#job = job
    this.#slide = slide
    this.#others = job === null || slide === null || !(wanted !== null || this.#isOpen()) ? [] : await this.#fetch(slide, job)
    if (turn !== this.#turn) return
    this.#offer(job === null ? null : wanted)
    if (job !== null) this.#wanted = null
    await this.#draw()
  }

  /** Draw anew what the model was not sure enough of before, or is not any more. */
  redraw(): void {
    if (this.#with.value !== '') this.#drawn()
  }

  /** Offer the jobs that have come since, if anybody looks at them. */
  async refresh(): Promise<void> {
    const [job, slide, turn] = [this.#job, this.#slide, this.#turn]
    if (job === null || slide === null || !(this.#with.value !== '' || this.#isOpen())) return
    const others = await this.#fetch(slide, job)
    if (turn !== this.#turn) return
    const chosen = this.#with.value
    this.#others = others
    this.#offer(chosen)
    if (this.#with.value !== chosen) this.#changed() // it was deleted
  }

  #isOpen(): boolean {
    return this.element.closest('details')?.open ?? false
  }

  #offer(wanted: string | null): void {
    const jobs = this.#others.map((each) => el('option', { value: each.id, textContent: nameOf(each, this.#slide) }))
    const options = [el('option', { value: '', textContent: COMPARE.none }), el('option', { value: BARE, textContent: COMPARE.bare }), ...jobs]
    this.#with.replaceChildren(...options)
    this.#with.value = options.some(({ value }) => value === wanted) ? (wanted ?? '') : ''
  }

  async #fetch(slide: SlideInfo, job: JobView): Promise<JobView[]> {
    const { items } = await getJson<Page<JobView>>(`/v1/jobs?slide=${slide.id}&state=succeeded&limit=${PAGE}`)
    return items.filter(({ id, results }) => id !== job.id && LABELS in results)
  }

  /** Return how the other job is drawn: a class of a name that is switched off is off in both. */
  #lookOf(job: JobView): Look {
    const look = new Look(this.classesOf(job.request.model), byId('outlines', HTMLInputElement).checked, new Palette())
    const first = this.viewer.overlay.look()
    for (const { name, index } of look.classes) {
      const same = first?.classes.find((each) => each.name === name)
      if (same) look.set(index, !first?.isHidden(same.index))
    }
    return look
  }

  #way(): Arrangement {
    return this.#ways.swipe.checked ? 'swipe' : 'side'
  }

  #changed(): void {
    this.#drawn()
    this.onChange()
  }

  #drawn(): void {
    void this.#draw().catch(report)
  }

  async #draw(): Promise<void> {
    const [job, slide] = [this.#job, this.#slide]
    const other = this.#others.find(({ id }) => id === this.#with.value) ?? null
    const isOn = job !== null && slide !== null && this.#with.value !== ''
    this.#stage.classList.toggle('side', isOn && this.#way() === 'side')
    this.#stage.classList.toggle('swiped', isOn && this.#way() === 'swipe')
    byId('other', HTMLElement).hidden = !isOn
    for (const name of Object.values(this.#names)) name.hidden = !isOn
    this.#swipe.show(isOn && this.#way() === 'swipe')
    this.onOther(isOn ? (other?.id ?? null) : null)
    if (!isOn || job === null || slide === null) {
      this.#pane?.close()
      return
    }
    this.#names.this.textContent = nameOf(job, slide)
    this.#names.other.textContent = other === null ? COMPARE.bare : nameOf(other, slide)
    this.#pane ??= new Pane(this.viewer)
    try {
      await this.#pane.show(slide.id, other?.id ?? null, other && this.#lookOf(other), this.sure())
    } catch (error) {
      if (!(error instanceof DOMException && error.name === 'AbortError')) throw error // else it was overtaken
    }
    this.#pane.overlay.setOpacity(Number(byId('opacity', HTMLInputElement).value) / 100)
  }
}

function nameOf(job: JobView, slide: SlideInfo | null): string {
  return [job.request.model, slide && inShort(job, slide), moment(job.created_at)].filter(Boolean).join(' · ')
}

function radio(id: string): HTMLInputElement {
  return el('input', { type: 'radio', name: 'compare-by', id })
}
