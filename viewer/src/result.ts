/** What there is of the chosen job: its overlay, also while it runs, the legend, and what can be downloaded. */

import { getJson } from './api'
import { CoarseLayer } from './coarse'
import { byId, pause } from './dom'
import { downloadsOf } from './downloads'
import { classPaints, legendTable } from './legend'
import { report } from './notices'
import { Look } from './overlay'
import { Palette } from './palette'
import { mppOf } from './parameters'
import { RESULT } from './strings'
import type { JobView, ModelClass, SlideInfo, Statistics } from './types'
import type { SlideViewer } from './viewer'
import { WarningList } from './warnings'

const LABELS = 'labels.ome.tif'
const REFRESH_MS = 2000

export class ResultPanel {
  readonly #outlines = byId('outlines', HTMLInputElement)
  readonly #coarse: CoarseLayer
  readonly #warnings: WarningList
  #job: JobView | null = null
  #look: Look | null = null
  readonly #palette = new Palette()
  /** The running job whose overlay is kept up to date. */
  #following: string | null = null

  /** `classesOf` knows the classes of a model that is installed. */
  constructor(
    private readonly viewer: SlideViewer,
    private readonly classesOf: (model: string) => ModelClass[],
  ) {
    this.#coarse = new CoarseLayer(viewer)
    this.#warnings = new WarningList(viewer)
    const opacity = byId('opacity', HTMLInputElement)
    opacity.addEventListener('input', () => viewer.setOpacity(Number(opacity.value) / 100))
    for (const choice of [this.#outlines, byId('fill', HTMLInputElement)]) {
      choice.addEventListener('change', () => {
        if (this.#look !== null) this.#look.outlines = this.#outlines.checked
        void viewer.redrawOverlay()
      })
    }
  }

  /** Return the id of the job that is shown. */
  jobId(): string | null {
    return this.#job?.id ?? null
  }

  /** Show what there is of a job, or nothing. The same job again: what has come since. */
  async show(job: JobView | null, slide: SlideInfo | null): Promise<void> {
    const before = this.#job
    this.#job = job
    this.#coarse.show(job)
    byId('result', HTMLElement).hidden = job === null
    if (before?.id !== job?.id) {
      this.#look = null
      this.viewer.clearOverlay()
      byId('result-note', HTMLElement).textContent = ''
    }
    if (slide === null) return
    void this.#warnings.show(job, slide)
    const { mpp_x, mpp_y } = slide.geometry
    this.viewer.setMpp(...((job && mppOf(job, slide)) ?? ([mpp_x, mpp_y] as const)))
    if (job === null) return
    if (job.state === 'succeeded') await this.#showAll(job, slide)
    else await this.#showSoFar(job)
  }

  async #showSoFar(job: JobView): Promise<void> {
    byId('result-title', HTMLElement).textContent = RESULT.soFar
    byId('downloads', HTMLElement).hidden = true
    const look = this.#look ?? this.#drawLegend(this.classesOf(job.request.model))
    if (this.#following === job.id) return
    this.#following = job.id
    try {
      await this.#keepUp(job.id, look)
    } finally {
      if (this.#following === job.id) this.#following = null
    }
  }

  /** Fetch the overlay anew as long as regions come, but not with each of them: there may be many a second. */
  async #keepUp(jobId: string, look: Look): Promise<void> {
    let shown = -1
    for (;;) {
      const job = this.#job
      if (job?.id !== jobId || job.state === 'succeeded' || job.regions_done === shown) return
      shown = job.regions_done
      await this.viewer.showOverlay(`/v1/jobs/${jobId}/live.dzi`, String(shown), look)
      if (this.#job?.id === jobId && this.#job.state !== 'succeeded') {
        byId('result-note', HTMLElement).textContent = RESULT.shows(shown, job.regions_total)
      }
      await pause(REFRESH_MS)
    }
  }

  async #showAll(job: JobView, slide: SlideInfo): Promise<void> {
    const statistics = 'statistics' in job.results ? await getJson<Statistics>(`/v1/jobs/${job.id}/statistics`) : null
    if (this.#job !== job) return
    const hasLabels = LABELS in job.results
    byId('result-title', HTMLElement).textContent = RESULT.title
    byId('result-note', HTMLElement).textContent = hasLabels ? '' : RESULT.noLabels
    const look = this.#drawLegend(statistics?.classes ?? this.classesOf(job.request.model))
    const downloads = byId('downloads', HTMLElement)
    downloads.hidden = false
    downloads.replaceChildren(...downloadsOf(job, slide))
    if (hasLabels) await this.viewer.showOverlay(`/v1/jobs/${job.id}/overlay.dzi`, 'final', look)
    else this.viewer.clearOverlay()
  }

  /** Draw the legend anew; what was switched off stays so. */
  #drawLegend(classes: ModelClass[]): Look {
    const look = new Look(classes, this.#outlines.checked, this.#palette)
    for (const { index } of classes) look.set(index, !this.#look?.isHidden(index))
    this.#look = look
    this.#showLegend(classes, look)
    return look
  }

  #showLegend(classes: ModelClass[], look: Look): void {
    const redraw = (): void => void this.viewer.redrawOverlay().catch(report)
    const again = (): void => {
      this.#showLegend(classes, look)
      redraw()
    }
    byId('legend', HTMLElement).replaceChildren(legendTable(classes, look, redraw))
    byId('class-paints', HTMLElement).replaceChildren(...classPaints(classes, look, redraw, again))
  }
}
