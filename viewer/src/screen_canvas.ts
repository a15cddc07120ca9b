/** Canvases that lie over a picture and have as many px as the screen has there. */

import type OpenSeadragon from 'openseadragon'

/** Return a canvas over a picture as large as that, empty, in CSS px. */
export function blank(osd: OpenSeadragon.Viewer, canvas: HTMLCanvasElement): CanvasRenderingContext2D | null {
  const { clientWidth, clientHeight } = osd.element
  const ratio = devicePixelRatio
  const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)]
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height })
  const context = canvas.getContext('2d')
  context?.setTransform(ratio, 0, 0, ratio, 0, 0)
  context?.clearRect(0, 0, clientWidth, clientHeight)
  return context
}
