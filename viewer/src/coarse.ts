/** What is expected where on a large job that runs: coloured cells, until regions have landed there. */

import { send } from './api'
import { type Cells, DensityCanvas, mostPerMm2 } from './density_canvas'
import { byId, el, pause } from './dom'
import { scale } from './sequential'
import { COARSE } from './strings'
import type { JobView } from './types'
import type { SlideViewer } from './viewer'

const ASK_MS = 2000
/** So often it is asked for in vain: jobs that are not large have none. */
const MISSES_MAX = 10
const OPACITY = 0.55

/** As the server tells it. */
interface CoarsePreview {
  cell_px: [number, number]
  columns: number
  rows: number
  samples: number
  classes: { name: string; share: (number | null)[] }[]
  per_mm2: (number | null)[] | null
}

export class CoarseLayer {
  readonly #note = byId('coarse', HTMLElement)
  readonly #cells: DensityCanvas
  /** The job that is looked after. */
  #job: JobView | null = null

  constructor(viewer: SlideViewer) {
    this.#cells = new DensityCanvas(viewer.osd, viewer.plane)
    this.#cells.setOpacity(OPACITY)
  }

  /** Show what is expected of a job as long as it runs; of null, and of a job that has ended, nothing. */
  show(job: JobView | null): void {
    const before = this.#job?.id
    this.#job = job?.state === 'running' ? job : null
    if (this.#job === null || this.#job.id !== before) this.#draw(null)
    if (this.#job !== null && this.#job.id !== before) void this.#keepUp(this.#job.id)
  }

  async #keepUp(jobId: string): Promise<void> {
    for (let misses = 0; misses < MISSES_MAX; ) {
      const preview = await coarseOf(jobId).catch(() => null)
      if (this.#job?.id !== jobId) return
      if (preview === null) misses += 1
      else misses = 0
      this.#draw(preview)
      await pause(ASK_MS)
      if (this.#job?.id !== jobId) return
    }
  }

  #draw(preview: CoarsePreview | null): void {
    const cells = preview === null ? null : cellsOf(preview)
    const isAny = cells?.per_mm2.some((each) => each !== null) ?? false
    this.#note.hidden = !isAny
    this.#cells.show(isAny ? cells : null)
    if (preview === null || cells === null || !isAny) return
    const most = Math.round(mostPerMm2(cells))
    const high = preview.per_mm2 === null ? COARSE.share(most) : COARSE.perMm2(most)
    this.#note.replaceChildren(
      el('strong', { textContent: COARSE.title }),
      ...scale('0', high, COARSE.colours),
      el('p', { className: 'hint', textContent: COARSE.note(preview.samples) }),
    )
  }
}

/** Return the preview of a job; null if there is none, or not now. */
async function coarseOf(jobId: string): Promise<CoarsePreview | null> {
  const answer = await send(`/v1/jobs/${jobId}/coarse-preview`)
  return answer.status === 204 ? null : ((await answer.json()) as CoarsePreview)
}

/** Return what is coloured: objects per mm², or per cent of the tissue in any class where objects are not told apart. */
function cellsOf({ cell_px, columns, rows, classes, per_mm2 }: CoarsePreview): Cells {
  const shares = (cell: number): number | null => {
    const told = classes.map(({ share }) => share[cell] ?? null).filter((each) => each !== null)
    return told.length === 0 ? null : told.reduce((sum, each) => sum + 100 * each, 0)
  }
  return { cell_px, columns, rows, per_mm2: per_mm2 ?? Array.from({ length: columns * rows }, (_, cell) => shares(cell)) }
}
