/** Outlines of classes over the slide: lines of one width on the screen, whatever the zoom. */

import type OpenSeadragon from 'openseadragon'
import { type Lines, seamsOf, type TileEdges } from './edges'
import type { Look } from './overlay'
import type { Plane } from './plane'
import { blank } from './screen_canvas'

/** Screen px. */
const LINE_PX = 2
/** More tiles than the viewer keeps. */
const TILES_KEPT = 600

export class OutlineCanvas {
  readonly #canvas = document.createElement('canvas')
  /** By the tile's address, the one that was used last at the end. */
  readonly #edges = new Map<string, TileEdges>()
  readonly #seams = new WeakMap<TileEdges, { right: TileEdges | undefined; below: TileEdges | undefined; lines: Lines }>()

  constructor(
    private readonly osd: OpenSeadragon.Viewer,
    private readonly plane: Plane,
  ) {
    this.#canvas.className = 'outlines'
    osd.canvas.append(this.#canvas)
  }

  /** Keep the edges of a tile that has come. */
  keep(tile: OpenSeadragon.Tile, edges: TileEdges): void {
    const address = tile.getUrl()
    this.#edges.delete(address)
    this.#edges.set(address, edges)
    const [oldest] = this.#edges.keys()
    if (this.#edges.size > TILES_KEPT && oldest !== undefined) this.#edges.delete(oldest)
  }

  /** Draw the outlines of these tiles of an overlay, the coarser ones first, in place of what was drawn. */
  draw(tiles: readonly OpenSeadragon.Tile[], image: OpenSeadragon.TiledImage | null, look: Look | null, opacity: number): void {
    const context = blank(this.osd, this.#canvas)
    const map = this.plane.matrix()
    if (context === null || map === null || image === null || !look?.outlines) return
    this.#canvas.style.opacity = String(opacity)
    const levels = [...new Set(tiles.map(({ level }) => level))].sort((a, b) => a - b)
    for (const level of levels) {
      const here = tiles.filter((tile) => tile.level === level)
      for (const tile of here) this.#within(context, map, image, tile, (edges) => context.clearRect(0, 0, edges.width, edges.height))
      for (const tile of here) {
        this.#within(context, map, image, tile, (edges, scale) => this.#stroke(context, edges, this.#seamsOf(tile, image, edges), look, scale))
      }
    }
  }

  /** Act on a tile in a frame in which its px are of length 1; `scale`: screen px of each. */
  #within(
    context: CanvasRenderingContext2D,
    [a, b, c, d, e, f]: readonly number[],
    image: OpenSeadragon.TiledImage,
    tile: OpenSeadragon.Tile,
    act: (edges: TileEdges, scale: number) => void,
  ): void {
    const edges = this.#edges.get(tile.getUrl())
    if (edges === undefined || [a, b, c, d, e, f].includes(undefined)) return
    const step = 2 ** (image.source.maxLevel - tile.level)
    const [left, top] = [tile.x * image.source.getTileWidth(tile.level) * step, tile.y * image.source.getTileHeight(tile.level) * step]
    const [xx, yx, xy, yy, x0, y0] = [a, b, c, d, e, f] as [number, number, number, number, number, number]
    context.save()
    context.transform(xx * step, yx * step, xy * step, yy * step, xx * left + xy * top + x0, yx * left + yy * top + y0)
    act(edges, Math.hypot(xx, yx) * step)
    context.restore()
  }

  #stroke(context: CanvasRenderingContext2D, edges: TileEdges, seams: Lines, look: Look, scale: number): void {
    context.lineWidth = LINE_PX / scale
    context.lineCap = 'square'
    for (const [index, { color, opacity }] of look.paints()) {
      context.strokeStyle = color
      context.globalAlpha = opacity
      for (const path of [edges.lines.get(index), seams.get(index)]) if (path) context.stroke(path)
    }
  }

  /** Return the edges between a tile and its neighbours, as far as those are there. */
  #seamsOf(tile: OpenSeadragon.Tile, image: OpenSeadragon.TiledImage, edges: TileEdges): Lines {
    const beside = (x: number, y: number): TileEdges | undefined => this.#edges.get(String(image.source.getTileUrl(tile.level, x, y)))
    const [right, below] = [beside(tile.x + 1, tile.y), beside(tile.x, tile.y + 1)]
    const known = this.#seams.get(edges)
    if (known && known.right === right && known.below === below) return known.lines
    const lines = seamsOf(edges, right, below)
    this.#seams.set(edges, { right, below, lines })
    return lines
  }
}
