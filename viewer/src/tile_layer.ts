/** Tiles over the slide, drawn as they are or painted by the page, and never smoothed. */

import type OpenSeadragon from 'openseadragon'
import { keepSharp, type LayerOptions, mark } from './overlay_layer'

/** Changes the px of a tile. */
export type Paint = (pixels: Uint8ClampedArray) => void
type Add = (tileSource: string, options: LayerOptions) => Promise<OpenSeadragon.TiledImage>

export class TileLayer {
  #image: OpenSeadragon.TiledImage | null = null
  #paint: Paint | null = null
  #turn = 0

  constructor(
    private readonly osd: OpenSeadragon.Viewer,
    private readonly add: Add,
  ) {
    osd.addHandler('tile-invalidated', (event) => this.#filter(event))
    osd.addHandler('tile-drawing', ({ tiledImage, context }) => {
      if (tiledImage === this.#image) context.imageSmoothingEnabled = false
    })
  }

  /** Show the tiles of an address in place of what is shown. Of two calls the later one counts. */
  async show(address: string, paint: Paint | null, opacity: number): Promise<void> {
    this.clear()
    const turn = this.#turn
    const image = await this.add(address, { opacity })
    if (turn !== this.#turn) {
      this.osd.world.removeItem(image)
      return
    }
    mark(image, String(turn)) // tiles that were painted before are not taken for these
    keepSharp(image)
    this.#paint = paint
    this.#image = image
  }

  clear(): void {
    this.#turn += 1
    if (this.#image !== null) this.osd.world.removeItem(this.#image)
    this.#image = null
  }

  setOpacity(opacity: number): void {
    this.#image?.setOpacity(opacity)
  }

  /** Paint the tiles anew. */
  async redraw(): Promise<void> {
    await this.#image?.requestInvalidate(true)
    this.osd.forceRedraw()
  }

  async #filter(event: OpenSeadragon.TileInvalidatedEvent): Promise<void> {
    if (event.tiledImage !== this.#image || this.#paint === null) return
    const context = (await event.getData('context2d')) as CanvasRenderingContext2D
    const { width, height } = context.canvas
    const image = context.getImageData(0, 0, width, height)
    this.#paint(image.data)
    context.putImageData(image, 0, 0)
    await event.setData(context, 'context2d')
  }
}
