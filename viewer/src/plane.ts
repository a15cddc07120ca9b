/** The plane of the slide (level-0 px) and the screen (CSS px of the viewer), also where the view is turned or mirrored. */

import OpenSeadragon from 'openseadragon'
import type { Place } from './view_link'

/** A position; its frame is said where it is used. */
export interface Point {
  x: number
  y: number
}

/** An affine map, as a canvas takes it: x' = a x + c y + e, y' = b x + d y + f. */
export type Matrix = [a: number, b: number, c: number, d: number, e: number, f: number]

export class Plane {
  constructor(private readonly osd: OpenSeadragon.Viewer) {}

  /** Return the picture of the slide; null before it is open. */
  image(): OpenSeadragon.TiledImage | null {
    return this.osd.world.getItemCount() > 0 ? this.osd.world.getItemAt(0) : null
  }

  /** Return where a position of the slide is on the screen; null before a slide is open. */
  toScreen(at: Point): Point | null {
    const image = this.image()
    if (image === null) return null
    const { x, y } = this.osd.viewport.pixelFromPoint(image.imageToViewportCoordinates(at.x, at.y), true)
    return { x: this.#mirrored(x), y }
  }

  /** Return which position of the slide is at one of the screen; null before a slide is open. */
  toSlide(at: Point): Point | null {
    const image = this.image()
    if (image === null) return null
    const pixel = new OpenSeadragon.Point(this.#mirrored(at.x), at.y)
    const { x, y } = image.viewportToImageCoordinates(this.osd.viewport.pointFromPixel(pixel, true))
    return { x, y }
  }

  /** Return the position of the slide where a pointer is. */
  under(event: MouseEvent): Point | null {
    const box = this.osd.element.getBoundingClientRect()
    return this.toSlide({ x: event.clientX - box.left, y: event.clientY - box.top })
  }

  /** Return the map from level-0 px to the screen; null before a slide is open. */
  matrix(): Matrix | null {
    const [origin, right, down] = [this.toScreen({ x: 0, y: 0 }), this.toScreen({ x: 1, y: 0 }), this.toScreen({ x: 0, y: 1 })]
    if (!origin || !right || !down) return null
    return [right.x - origin.x, right.y - origin.y, down.x - origin.x, down.y - origin.y, origin.x, origin.y]
  }

  /** Return the corners of what is seen, in level-0 px; null before a slide is open. */
  seen(): Point[] | null {
    const { clientWidth: width, clientHeight: height } = this.osd.element
    const corners = [[0, 0], [width, 0], [width, height], [0, height]] as const
    const found = corners.map(([x, y]) => this.toSlide({ x, y }))
    return found.every((each) => each !== null) ? found : null
  }

  /** Return where the view is; null before a slide is open. */
  place(): Place | null {
    const image = this.image()
    if (image === null) return null
    const { viewport } = this.osd
    const { x, y } = image.viewportToImageCoordinates(viewport.getCenter(true))
    const z = image.viewportToImageZoom(viewport.getZoom(true))
    return { x, y, z, turn: viewport.getRotation(), isMirrored: viewport.getFlip() }
  }

  goTo(place: Place): void {
    const image = this.image()
    if (image === null) return
    const { viewport } = this.osd
    viewport.setRotation(place.turn, true)
    viewport.setFlip(place.isMirrored)
    viewport.zoomTo(image.imageToViewportZoom(place.z), undefined, true)
    viewport.panTo(image.imageToViewportCoordinates(place.x, place.y), true)
  }

  #mirrored(x: number): number {
    return this.osd.viewport.getFlip() ? this.osd.viewport.getContainerSize().x - x : x
  }
}
