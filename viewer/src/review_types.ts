/** What the server says of corrections and batches, as far as the page reads it. Frames: level-0 px of the full plane. */

export type CorrectionState = 'accepted' | 'rejected' | 'relabelled' | 'redrawn' | 'added'

export interface Outline {
  type: 'Polygon'
  coordinates: [number, number][][]
}

/** An object that somebody has said something of, as it stands. */
export interface CorrectedObject {
  id: string
  state: CorrectionState
  class_name: string
  area_um2: number
  box: [number, number, number, number]
  geometry: Outline | null
  author: { name: string }
  at: string
}

export interface Corrections {
  revision: number
  undoable: number | null
  items: CorrectedObject[]
}

export interface Corrected extends Corrections {
  dropped: string[]
}

export type Change =
  | { action: 'accept' | 'reject'; object: string; near: [number, number] | null }
  | { action: 'relabel'; object: string; near: [number, number] | null; class_name: string }
  | { action: 'redraw'; object: string; near: [number, number] | null; geometry: Outline }
  | { action: 'add'; class_name: string; geometry: Outline }

export interface Amount {
  count: number | null
  mm2: number
  density_per_mm2: number | null
}

export interface CorrectedStatistics {
  classes: { index: number; name: string; without: Amount; corrected: Amount }[]
}

/** A polygon of the index of a job. */
export interface Feature {
  id: string
  geometry: Outline
  properties: { classification: { name: string }; measurements: Record<string, number> }
}

export interface Batch {
  id: string
  created_at: string
  done: boolean
  counts: Record<string, number>
  items: { slide_id: string; job_id: string | null }[]
}
