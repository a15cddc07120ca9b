/** Objects of a job, as the server tells a few of many. Frames: level-0 px of the full plane. */

import { whenMade } from './made'
import { type Point } from './plane'

export interface ObjectView {
  id: string
  row: number
  class_name: string
  class_index: number
  x: number
  y: number
  bbox: [number, number, number, number]
  area_um2: number
  confidence: number
  touches_border: boolean
  rings: [number, number][][] | null
}

export interface ObjectPage {
  items: ObjectView[]
  total: number
  next_cursor: string | null
}

/** Return the rings of an object as lines. */
export function linesOf({ rings }: ObjectView): Point[][] {
  return (rings ?? []).map((ring) => ring.map(([x, y]) => ({ x, y })))
}

/** Whether a position lies within an object, its holes left out. */
export function holds({ rings, bbox: [x0, y0, x1, y1] }: ObjectView, { x, y }: Point): boolean {
  if (x < x0 || x > x1 || y < y0 || y > y1) return false
  let isIn = false
  for (const ring of rings ?? []) {
    ring.forEach(([ax, ay], i) => {
      const [bx, by] = ring[(i + 1) % ring.length] ?? [ax, ay]
      if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) isIn = !isIn
    })
  }
  return isIn
}

/** Fetch the object that holds a position; null if none does. */
export async function objectAt(jobId: string, { x, y }: Point, signal: AbortSignal): Promise<ObjectView | null> {
  const at = `${x.toFixed(2)},${y.toFixed(2)}`
  const { items } = await pageOf(jobId, { at, shapes: 'true' }, signal)
  return items[0] ?? null
}

/** Fetch a page of objects. */
export async function pageOf(jobId: string, question: Record<string, string>, signal: AbortSignal, onWait?: () => void): Promise<ObjectPage> {
  const path = `/v1/jobs/${jobId}/objects?${new URLSearchParams(question).toString()}`
  return (await (await whenMade(path, signal, onWait)).json()) as ObjectPage
}
