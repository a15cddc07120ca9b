/** How sure the model was: painted as a map, and as a bound below which nothing is drawn. Its tiles are grey PNG. */

import type OpenSeadragon from 'openseadragon'
import { send } from './api'
import { TABLE } from './sequential'
import type { Paint } from './tile_layer'

/** The colours as they lie in a picture. */
const PACKED = new Uint32Array(Uint8Array.from(TABLE.flatMap((color) => [...color, 255])).buffer)
/** Of tiles of 256 to 1024 px a side. */
const TILES_KEPT = 120

/** Return the least value of a px that is drawn, given per cent. */
export function bound(sure: number): number {
  return Math.max(1, Math.ceil((sure / 100) * 255 - 1e-9))
}

/** Return what paints a tile of the confidence in colours; below `least()` it is transparent. */
export function painter(least: () => number): Paint {
  return (pixels) => {
    const bottom = least()
    const painted = new Uint32Array(pixels.buffer)
    for (let i = 0; i < painted.length; i += 1) {
      const value = pixels[4 * i] ?? 0
      painted[i] = value < bottom ? 0 : (PACKED[value] ?? 0)
    }
  }
}

/** Takes out of tiles of the overlay what the model is not sure enough of. */
export class ConfidenceMask {
  readonly #tiles = new Map<string, Promise<Uint8ClampedArray>>()
  /** Per cent. */
  sure = 0

  /** Set the classes of px to 0 where the confidence is too low. `address` is that of the tile. */
  async apply(address: string, indices: Uint8Array): Promise<void> {
    if (this.sure === 0) return
    const values = await this.#tile(address.replace(/#.*/, '').replace('/overlay_files/', '/confidence_files/')).catch(() => null)
    const least = bound(this.sure)
    if (values === null) return // the viewer says of its own tiles that they cannot be fetched
    for (let i = 0; i < indices.length; i += 1) if ((values[4 * i] ?? 0) < least) indices[i] = 0
  }

  forget(): void {
    this.#tiles.clear()
  }

  #tile(address: string): Promise<Uint8ClampedArray> {
    const known = this.#tiles.get(address) ?? fetched(address)
    this.#tiles.delete(address)
    this.#tiles.set(address, known)
    known.catch(() => this.#tiles.delete(address))
    const [oldest] = this.#tiles.keys()
    if (this.#tiles.size > TILES_KEPT && oldest !== undefined) this.#tiles.delete(oldest)
    return known
  }
}

/** Return the path of a tile as it is on this server, wherever a proxy shows the page. */
function pathOf(address: string): string {
  const base = new URL('.', document.baseURI).pathname
  const { pathname } = new URL(address, document.baseURI)
  return `/${pathname.startsWith(base) ? pathname.slice(base.length) : pathname.slice(1)}`
}

async function fetched(address: string): Promise<Uint8ClampedArray> {
  const picture = await createImageBitmap(await (await send(pathOf(address))).blob(), { colorSpaceConversion: 'none' })
  const context = new OffscreenCanvas(picture.width, picture.height).getContext('2d', { willReadFrequently: true })
  if (context === null) throw new Error('This browser draws no pictures out of sight')
  context.drawImage(picture, 0, 0)
  return context.getImageData(0, 0, picture.width, picture.height).data
}

export type Mask = (tile: OpenSeadragon.Tile, indices: Uint8Array) => Promise<void>
