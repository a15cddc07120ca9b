/** What the server's answers look like, as far as the page reads them. Frames: level-0 px of the full plane. */

export interface ErrorBody {
  code: string
  message: string
  value: string | null
  accepted: string | null
}

/** Why a result cannot be trusted as it is. */
export interface TrustWarning {
  code: string
  message: string
  value: string | null
  /** Boxes around its causes, the largest first; none of one about all of the slide, and none in lists of jobs. */
  places: [x0: number, y0: number, x1: number, y1: number][]
  /** How many there are, those told among them. */
  places_count: number
}

export interface SlideInfo {
  id: string
  filename: string
  size_bytes: number
  vendor: string
  geometry: {
    l0_width: number
    l0_height: number
    mpp_x: number | null
    mpp_y: number | null
    mpp_origin: string | null
    implausible_mpp: [number, number] | null
    bounds: [number, number, number, number] | null
  }
  /** What the file says, where a person has said otherwise. */
  file_mpp: { mpp_x: number | null; mpp_y: number | null; replaced_at: string } | null
  modality?: { name: string } | null
  warnings: TrustWarning[]
  created_at: string
}

export interface ModelClass {
  index: number
  name: string
  color: [number, number, number]
}

export interface ModelCard {
  name: string
  title: string
  mpp: number
  classes: ModelClass[]
  modality: string
  digest: string
  license: string
  intended_use: string
  objects: { smallest_um2: number }
  /** Measured on held-out data: `dice_nucleus_tnbc_test`, and with `_low` and `_high` the ends of its interval. */
  figures: Record<string, number>
}

export type JobState = 'queued' | 'planning' | 'running' | 'finishing' | 'succeeded' | 'failed' | 'canceled'

/** Rings of positions, level-0 px of the full plane; the first of a polygon is the outer one. */
export type Region =
  | { type: 'Polygon'; coordinates: [number, number][][] }
  | { type: 'MultiPolygon'; coordinates: [number, number][][][] }

/** What was asked of a job. */
export interface JobRequest {
  slide_id: string
  model: string
  mpp: number | null
  outputs: string[]
  seed: number
  tissue: boolean
  roi: Region | null
  on_bad_tile: 'fail' | 'mask' | 'skip'
}

export interface JobView {
  id: string
  state: JobState
  request: JobRequest
  /** Where it stands among the jobs that wait. */
  waiting?: { place: number; starts_in_s: number | null } | null
  preflight?: { estimated_s: number | null; notice?: string | null } | null
  regions_done: number
  regions_total: number | null
  phase: string | null
  tiles_per_s: number | null
  eta_s: number | null
  created_at: string
  started_at?: string | null
  finished_at?: string | null
  error: ErrorBody | null
  results: Record<string, string>
  warnings: TrustWarning[]
}

/** A batch: one job for each slide, or why there is none. */
export interface BatchView {
  items: { slide_id: string; error: ErrorBody | null }[]
}

export interface UploadView {
  id: string
  state: 'uploading' | 'checking' | 'ready' | 'rejected'
  filename: string
  length: number
  offset: number
  slide_id: string | null
  error: ErrorBody | null
  /** Where the server fetches it from, if it does. */
  source: string | null
}

export interface ClassStatistics extends ModelClass {
  mm2: number
  share_of_tissue: number | null
  /** Objects; absent in older results, null of the background. */
  count?: number | null
}

export interface Statistics {
  tissue_mm2: number
  classes: ClassStatistics[]
}

/** What there is on the server of whoever asks; a quota of 0 is none. */
export interface Usage {
  stored_bytes: number
  quota_bytes: number
}

export interface Page<T> {
  items: T[]
  next_cursor?: string | null
}

export function isFinal(state: JobState): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'canceled'
}

/** Whether there is something to see of a job. */
export function isVisible({ state }: JobView): boolean {
  return state === 'running' || state === 'finishing' || state === 'succeeded'
}
