/** Regions as closed lines, in level-0 px: their area, what of them lies on the slide, and GeoJSON. */

import type { Point } from './plane'
import type { Region, SlideInfo } from './types'

/** µm per level-0 px in x and y; null if nobody knows. */
export type Mpp = [number, number] | null

/** Return what a ring encloses, in px². One that crosses itself counts what turns the other way as negative. */
export function ringArea(ring: readonly Point[]): number {
  let twice = 0
  ring.forEach(({ x, y }, i) => {
    const next = ring[(i + 1) % ring.length] ?? { x, y }
    twice += x * next.y - next.x * y
  })
  return Math.abs(twice) / 2
}

/** Return the length of a line in µm, or in px where nobody knows how wide those are. */
export function lineLength(points: readonly Point[], mpp: Mpp): number {
  const [across, down] = mpp ?? [1, 1]
  return points.slice(1).reduce((sum, { x, y }, i) => {
    const before = points[i] ?? { x, y }
    return sum + Math.hypot((x - before.x) * across, (y - before.y) * down)
  }, 0)
}

/** Return the part of a ring that lies on the slide (after Sutherland and Hodgman: one side of the slide at a time). */
export function clipped(ring: readonly Point[], slide: SlideInfo): Point[] {
  const { l0_width: width, l0_height: height } = slide.geometry
  const sides: ((p: Point) => number)[] = [(p) => p.x, (p) => width - p.x, (p) => p.y, (p) => height - p.y]
  return sides.reduce<Point[]>((kept, depth) => kept.flatMap((to, i) => crossing(kept.at(i - 1) ?? to, to, depth)), [...ring])
}

/** Return what stays of the way from one corner to the next: where it enters or leaves, and its end if that is within. */
function crossing(from: Point, to: Point, depth: (p: Point) => number): Point[] {
  const [a, b] = [depth(from), depth(to)]
  if (a >= 0 && b >= 0) return [to]
  if (a < 0 && b < 0) return []
  const share = a / (a - b)
  const edge = { x: from.x + share * (to.x - from.x), y: from.y + share * (to.y - from.y) }
  return b >= 0 ? [edge, to] : [edge]
}

export function regionOf(ring: readonly Point[]): Region {
  const corners = [...ring, ...ring.slice(0, 1)].map(({ x, y }): [number, number] => [round(x), round(y)])
  return { type: 'Polygon', coordinates: [corners] }
}

/** Return the rings of a region, holes too. */
export function ringsOf(region: Region): Point[][] {
  const polygons = region.type === 'Polygon' ? [region.coordinates] : region.coordinates
  return polygons.flat().map((ring) => ring.map(([x, y]) => ({ x, y })))
}

/** Return what a region encloses, in px²: of each polygon the outer ring without its holes. */
export function regionArea(region: Region): number {
  const polygons = region.type === 'Polygon' ? [region.coordinates] : region.coordinates
  const areas = polygons.map((rings) => {
    const [outer = 0, ...holes] = rings.map((ring) => ringArea(ring.map(([x, y]) => ({ x, y }))))
    return outer - holes.reduce((sum, hole) => sum + hole, 0)
  })
  return areas.reduce((sum, each) => sum + each, 0)
}

function round(value: number): number {
  return Number(value.toFixed(1))
}
