/** What is laid over the slide beside the classes: confidence, density of objects, difference; and from which confidence on. */

import { ConfidenceMask, bound, painter } from './confidence'
import { type Density, DensityCanvas, mostPerMm2 } from './density_canvas'
import { el } from './dom'
import type { LayerState, MapKind } from './layer_state'
import { whenMade } from './made'
import { share } from './measure'
import { report } from './notices'
import { scale } from './sequential'
import { MAPS } from './strings'
import { TileLayer } from './tile_layer'
import type { JobView } from './types'
import type { SlideViewer } from './viewer'

const KINDS: MapKind[] = ['none', 'confidence', 'density', 'difference']
const OPACITY = 70
const OBJECTS = 'objects.parquet'
const LABELS = 'labels.ome.tif'

/** As the server tells it. */
interface Difference {
  step_px: number
  compared_px: number
  both: number | null
  only_this: number | null
  only_other: number | null
  other_class: number | null
}

const DIFFERENCES = ['both', 'only_this', 'only_other', 'other_class'] as const

export class MapPanel {
  readonly element: HTMLElement
  readonly #kind = el('select', { id: 'map-kind' }, ...KINDS.map((value) => el('option', { value, textContent: MAPS.kinds[value] })))
  readonly #opacity = el('input', { id: 'map-opacity', type: 'range', min: '0', max: '100', value: String(OPACITY) })
  readonly #opacityLine = el('label', { className: 'line' }, MAPS.opacity, this.#opacity)
  readonly #sure = el('input', { id: 'least-sure', type: 'range', min: '0', max: '100', step: '1', value: '0' })
  readonly #sureText = el('output', { className: 'per-cent' })
  readonly #legend = el('div', { className: 'map-legend' })
  readonly #layer: TileLayer
  readonly #cells: DensityCanvas
  readonly #mask = new ConfidenceMask()
  #job: JobView | null = null
  #other: string | null = null
  /** Whether the tiles of the overlay came before it was known how sure this job has to be. */
  #isOther = false
  /** Ends what is on its way. */
  #work = new AbortController()

  /** `onChange` is told that the address has to say something else. */
  constructor(
    private readonly viewer: SlideViewer,
    private readonly onChange: () => void,
  ) {
    this.#layer = new TileLayer(viewer.osd, (source, options) => viewer.addTiles(source, options))
    this.#cells = new DensityCanvas(viewer.osd, viewer.plane)
    viewer.overlay.mask = (tile, indices) => this.#mask.apply(tile.getUrl(), indices)
    const sureLine = el('label', { className: 'line', title: MAPS.sureHint }, MAPS.sure, this.#sure, this.#sureText)
    this.element = el('div', {}, el('label', { className: 'line' }, MAPS.title, this.#kind), this.#opacityLine, this.#legend, sureLine)
    this.#kind.addEventListener('change', () => this.#changed())
    this.#sure.addEventListener('input', () => this.#sayHowSure())
    this.#sure.addEventListener('change', () => this.#changed())
    this.#opacity.addEventListener('input', () => {
      this.#layer.setOpacity(this.#share())
      this.#cells.setOpacity(this.#share())
    })
  }

  state(): Pick<LayerState, 'map' | 'sure'> {
    return { map: this.#kind.value as MapKind, sure: Number(this.#sure.value) }
  }

  /** Take what an address says. It is shown with the next job. */
  take({ map, sure }: LayerState): void {
    this.#kind.value = map
    this.#sure.value = String(sure)
  }

  /** Show the layers of a job that has succeeded; of null none. */
  async show(job: JobView | null): Promise<void> {
    const isSame = this.#job !== null && this.#job.id === job?.id
    this.#job = job
    if (!isSame) this.#mask.forget()
    this.#isOther ||= !isSame
    for (const option of this.#kind.options) option.disabled = !this.#has(option.value as MapKind)
    await this.#draw()
  }

  /** Say which job the chosen one is compared with; null if none. */
  async compareWith(jobId: string | null): Promise<void> {
    if (this.#other === jobId) return
    this.#other = jobId
    if (jobId === null && this.#kind.value === 'difference') this.#kind.value = 'none'
    await this.show(this.#job)
  }

  #has(kind: MapKind): boolean {
    const results = this.#job?.results ?? {}
    if (kind === 'density') return OBJECTS in results
    return kind === 'none' || (LABELS in results && (kind === 'confidence' || this.#other !== null))
  }

  #changed(): void {
    this.onChange()
    void this.#draw().catch(report)
  }

  async #draw(): Promise<void> {
    this.#work.abort()
    this.#work = new AbortController()
    const { signal } = this.#work
    const { map, sure } = this.state()
    const kind = this.#has(map) ? map : 'none'
    this.#sayHowSure()
    this.#layer.clear()
    this.#cells.show(null)
    this.#legend.replaceChildren()
    this.#opacityLine.hidden = kind === 'none'
    const job = this.#job
    const least = job !== null && this.#has('confidence') ? sure : 0
    try {
      if (job !== null && (kind === 'confidence' || least > 0)) await this.#made(`/v1/jobs/${job.id}/confidence.dzi`, signal)
      if (signal.aborted) return
      if (this.#mask.sure !== least || (this.#isOther && least > 0)) {
        this.#mask.sure = least
        await this.viewer.redrawOverlay()
      }
      this.#isOther = false
      if (job === null || signal.aborted) return
      if (kind === 'confidence') await this.#showConfidence(job, least)
      else if (kind === 'density') await this.#showDensity(job, signal)
      else if (kind === 'difference') await this.#showDifference(job, this.#other ?? '', signal)
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  /** Wait until something is made, and say so meanwhile. */
  async #made(path: string, signal: AbortSignal): Promise<Response> {
    const answer = await whenMade(path, signal, () => this.#legend.replaceChildren(el('p', { className: 'hint', textContent: MAPS.making })))
    if (!signal.aborted) this.#legend.replaceChildren()
    return answer
  }

  async #showConfidence(job: JobView, sure: number): Promise<void> {
    this.#legend.replaceChildren(...scale('0 %', '100 %', MAPS.confidence))
    await this.#layer.show(`/v1/jobs/${job.id}/confidence.dzi`, painter(() => bound(sure)), this.#share())
  }

  async #showDensity(job: JobView, signal: AbortSignal): Promise<void> {
    const density = (await (await this.#made(`/v1/jobs/${job.id}/density`, signal)).json()) as Density
    if (signal.aborted) return
    const most = Math.round(mostPerMm2(density)).toLocaleString('en')
    this.#legend.replaceChildren(...scale('0', MAPS.perMm2(most), MAPS.density), el('p', { className: 'hint', textContent: MAPS.cells(density.cell_um) }))
    this.#cells.setOpacity(this.#share())
    this.#cells.show(density)
  }

  async #showDifference(job: JobView, other: string, signal: AbortSignal): Promise<void> {
    const path = `/v1/jobs/${job.id}/difference/${other}`
    const [found] = await Promise.all([
      this.#made(path, signal).then(async (answer) => (await answer.json()) as Difference),
      this.#layer.show(`${path}.dzi`, null, this.#share()),
    ])
    if (signal.aborted) return
    const rows = DIFFERENCES.map((name) =>
      el('tr', {}, el('th', { scope: 'row' }, el('span', { className: `patch ${name}` }), MAPS.differences[name]), el('td', { textContent: share(found[name]) })),
    )
    this.#legend.replaceChildren(
      el('table', { className: 'legend' }, el('tbody', {}, ...rows)),
      el('p', { className: 'hint', textContent: MAPS.compared(found.compared_px, found.step_px) }),
    )
  }

  #share(): number {
    return Number(this.#opacity.value) / 100
  }

  #sayHowSure(): void {
    this.#sureText.textContent = `${this.#sure.value} %`
  }
}
