/** Bringing a box of the slide into the view. Frame: level-0 px. */

import type { SlideViewer } from './viewer'

export type Box = [x0: number, y0: number, x1: number, y1: number]

/** Of the view, what a box may take at most; beyond, the view zooms out. */
const LARGE = 0.8
const MOST_ZOOM = 2

/** Bring a box into the middle. The zoom stays where the box takes `least` of the view and fits it; else it takes `share`. */
export function lookAt(viewer: SlideViewer, [x0, y0, x1, y1]: Box, least: number, share: number): void {
  const place = viewer.place()
  const { clientWidth, clientHeight } = viewer.osd.element
  if (place === null) return
  const fits = Math.min(clientWidth / (x1 - x0), clientHeight / (y1 - y0))
  const isFine = place.z >= least * fits && place.z <= LARGE * fits
  const z = isFine ? place.z : Math.min(share * fits, MOST_ZOOM)
  viewer.goTo({ ...place, x: (x0 + x1) / 2, y: (y0 + y1) / 2, z })
}
