/** Which object of a job lies at a position: of the model, or as somebody has corrected it. */

import { send } from './api'
import { pause } from './dom'
import type { Point } from './plane'
import type { CorrectedObject, Feature, Outline } from './review_types'

const WAIT_MS = 1500
/** Objects that are looked at around one position. */
const MOST = 50
const ACCEPTED = 202

/** An object that was chosen. */
export interface Picked {
  id: string
  /** Where, level-0 px: by it the server finds the object. */
  near: [number, number]
  className: string
  areaUm2: number
  outline: Outline
  correction: CorrectedObject | null
}

/**
 * Return the smallest object at a position of the slide, in level-0 px; null if there is none.
 *
 * `known`: those that were corrected. `onWait` is told while the index of the objects is being made; `signal` gives up.
 */
export async function objectAt(
  jobId: string,
  at: Point,
  known: ReadonlyMap<string, CorrectedObject>,
  onWait: () => void,
  signal: AbortSignal,
): Promise<Picked | null> {
  const corrected = [...known.values()].filter(({ geometry }) => geometry !== null && contains(geometry, at)).map((each) => ofCorrected(each, at))
  const found = await featuresAt(jobId, at, onWait, signal)
  // What was drawn anew is where it was drawn, and no longer where the model found it.
  const others = found.filter(({ id, geometry }) => (known.get(id)?.geometry ?? null) === null && contains(geometry, at))
  const all = [...corrected, ...others.map((each) => ofFeature(each, at, known.get(each.id) ?? null))]
  return all.reduce<Picked | null>((best, each) => (best === null || each.areaUm2 < best.areaUm2 ? each : best), null)
}

/** Whether a position is within an outline and in none of its holes. */
export function contains({ coordinates }: Outline, { x, y }: Point): boolean {
  let isInside = false
  for (const ring of coordinates) {
    ring.slice(1).forEach(([x1, y1], i) => {
      const [x0, y0] = ring[i] ?? [x1, y1]
      if (y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) isInside = !isInside
    })
  }
  return isInside
}

async function featuresAt(jobId: string, { x, y }: Point, onWait: () => void, signal: AbortSignal): Promise<Feature[]> {
  const path = `/v1/jobs/${jobId}/features?bbox=${x - 1},${y - 1},${x + 1},${y + 1}&limit=${MOST}`
  for (;;) {
    const answer = await send(path, { signal })
    if (answer.status !== ACCEPTED) return ((await answer.json()) as { features: Feature[] }).features
    onWait()
    await pause(WAIT_MS)
    if (signal.aborted) return []
  }
}

function ofCorrected(each: CorrectedObject, { x, y }: Point): Picked {
  const outline = each.geometry ?? { type: 'Polygon', coordinates: [] }
  return { id: each.id, near: [x, y], className: each.class_name, areaUm2: each.area_um2, outline, correction: each }
}

function ofFeature(each: Feature, { x, y }: Point, correction: CorrectedObject | null): Picked {
  return {
    id: each.id,
    near: [x, y],
    className: correction?.class_name ?? each.properties.classification.name,
    areaUm2: each.properties.measurements['Area um^2'] ?? 0,
    outline: each.geometry,
    correction,
  }
}
