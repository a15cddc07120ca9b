/** The overlay as a layer over the slide. New tiles take the place of old ones once they are there, so nothing flickers. */

import OpenSeadragon from 'openseadragon'
import type { Mask } from './confidence'
import { edgesOf } from './edges'
import { OutlineCanvas } from './outline_canvas'
import type { Look } from './overlay'
import type { Plane } from './plane'

/** How tiles are laid over others. */
export interface LayerOptions {
  opacity?: number
  preload?: boolean
}

type Add = (tileSource: string, options: LayerOptions) => Promise<OpenSeadragon.TiledImage>

export class OverlayLayer {
  #image: OpenSeadragon.TiledImage | null = null
  #coming: OpenSeadragon.TiledImage | null = null
  #look: Look | null = null
  #opacity = 0.5
  #turn = 0
  #giveUp = (): void => undefined
  /** Tiles of the overlay that this frame shows. */
  #drawn: OpenSeadragon.Tile[] = []
  readonly #outlines: OutlineCanvas
  /** Takes out of a tile what is not to be drawn. */
  mask: Mask | null = null

  /** `add` lays tiles over what is there. */
  constructor(
    private readonly osd: OpenSeadragon.Viewer,
    plane: Plane,
    private readonly add: Add,
  ) {
    this.#outlines = new OutlineCanvas(osd, plane)
    osd.addHandler('tile-invalidated', (event) => this.#filter(event))
    osd.addHandler('tile-drawing', (event) => this.#sharpen(event))
    osd.addHandler('update-viewport', () => {
      this.#outlines.draw(this.#drawn, this.#image, this.#look, this.#opacity)
      this.#drawn = []
    })
  }

  /** Return how it is drawn. */
  look(): Look | null {
    return this.#look
  }

  /** Take the overlay away. */
  clear(): void {
    this.#begin()
    if (this.#image !== null) this.osd.world.removeItem(this.#image)
    this.#image = null
  }

  /**
   * Show the tiles of an address, in place of what is shown as soon as all of the view has come.
   *
   * `version` makes the tiles others than those of the same address before. Where one call overtakes another, the
   * later one counts.
   */
  async show(address: string, version: string, look: Look): Promise<void> {
    const turn = this.#begin()
    this.#look = look
    const isFirst = this.#image === null
    const image = await this.add(address, { opacity: isFirst ? this.#opacity : 0, preload: true })
    if (turn !== this.#turn) {
      this.osd.world.removeItem(image)
      return
    }
    mark(image, version)
    keepSharp(image)
    if (isFirst) {
      this.#image = image
      image.setOpacity(this.#opacity)
      return
    }
    this.#coming = image
    await new Promise<void>((resolve) => {
      this.#giveUp = resolve
      image.whenFullyLoaded(resolve)
    })
    if (turn !== this.#turn) return
    if (this.#image !== null) this.osd.world.removeItem(this.#image)
    image.setOpacity(this.#opacity)
    this.#image = image
    this.#coming = null
  }

  setOpacity(opacity: number): void {
    this.#opacity = opacity
    this.#image?.setOpacity(opacity)
    this.osd.forceRedraw()
  }

  /** Draw anew after the look has changed. */
  async redraw(): Promise<void> {
    await Promise.all([this.#image, this.#coming].map((image) => image?.requestInvalidate(true)))
    this.osd.forceRedraw()
  }

  /** Give up what is on its way, and return the number of what comes now. */
  #begin(): number {
    if (this.#coming !== null) this.osd.world.removeItem(this.#coming)
    this.#coming = null
    this.#giveUp()
    return ++this.#turn
  }

  #isOurs(image: OpenSeadragon.TiledImage): boolean {
    return image === this.#image || image === this.#coming
  }

  /** Draw the pixels of a tile as they are: no third colour between two classes. It holds for this tile alone. */
  #sharpen(event: OpenSeadragon.TileDrawingEvent): void {
    if (!this.#isOurs(event.tiledImage)) return
    event.context.imageSmoothingEnabled = false
    if (event.tiledImage === this.#image) this.#drawn.push(event.tile)
  }

  async #filter(event: OpenSeadragon.TileInvalidatedEvent): Promise<void> {
    const look = this.#look
    if (look === null || !this.#isOurs(event.tiledImage)) return
    const context = (await event.getData('context2d')) as CanvasRenderingContext2D
    const { width, height } = context.canvas
    const indices = look.indicesOf(context.getImageData(0, 0, width, height))
    await this.mask?.(event.tile, indices)
    this.#outlines.keep(event.tile, edgesOf(indices, width))
    look.paint(context, indices)
    await event.setData(context, 'context2d')
  }
}

/** Give the tiles other names than those of an earlier version. The server does not see it, and caches ask it anew. */
export function mark(image: OpenSeadragon.TiledImage, version: string): void {
  const { source } = image
  const plain = source.getTileUrl.bind(source)
  source.getTileUrl = (level, x, y) => `${plain(level, x, y) as string}#${version}`
}

/** Enlarge each tile by itself. By default all are drawn at 100 % first and enlarged together, which smooths them. */
export function keepSharp(image: OpenSeadragon.TiledImage): void {
  Object.assign(image, { smoothTileEdgesMinZoom: Infinity })
}
