/** The slide and the overlay on it: OpenSeadragon, with what is read off it and drawn over it. */

import OpenSeadragon from 'openseadragon'
import { addTiles } from './add_tiles'
import { currentKey, hasOtherKey } from './api'
import { byId } from './dom'
import { DrawTool } from './draw_tool'
import { report } from './notices'
import type { Look } from './overlay'
import { type LayerOptions, OverlayLayer } from './overlay_layer'
import { Plane } from './plane'
import { Readout, UM_AT_1X } from './readout'
import { ReviewCanvas } from './review_canvas'
import type { Mpp } from './shapes'
import { Sketches } from './sketches'
import { VIEW } from './strings'
import type { SlideInfo } from './types'
import type { Place } from './view_link'
import { viewerOptions } from './viewer_options'

const UNAUTHORIZED = 401

export class SlideViewer {
  readonly #osd: OpenSeadragon.Viewer
  readonly #element = byId('slide', HTMLElement)
  readonly #readout: Readout
  readonly #overlay: OverlayLayer
  readonly plane: Plane
  readonly sketches: Sketches
  readonly pen: DrawTool
  readonly review: ReviewCanvas
  /** Tells `mpp` when a level-0 px has another width than before. */
  readonly changes = new EventTarget()
  #opened = 0
  #pending = 0
  /** With which tiles are asked for. */
  #key: string | null = null
  readonly #missingSaid = new Set<string>()
  #mpp: Mpp = null

  /** `onMove` is told whenever the view has come to rest; `openAgain` fetches anew what could not be shown. */
  constructor(
    onMove: () => void,
    private readonly openAgain: () => void,
  ) {
    const element = this.#element
    withoutInlineStyle()
    this.#osd = new OpenSeadragon.Viewer({
      ...viewerOptions(),
      element,
      showNavigator: true,
      navigatorPosition: 'TOP_RIGHT',
      navigatorSizeRatio: 0.16,
      navigatorAutoFade: false,
      navigatorBackground: '#e4e9eb',
      navigatorBorderColor: '#52636a',
    })
    this.#osd.canvas.setAttribute('role', 'application')
    this.#osd.canvas.setAttribute('aria-label', VIEW.keys)
    this.plane = new Plane(this.#osd)
    this.#overlay = new OverlayLayer(this.#osd, this.plane, (tileSource, options) => this.#add(tileSource, options))
    this.review = new ReviewCanvas(this.#osd, this.plane)
    this.sketches = new Sketches(this.#osd, this.plane)
    this.pen = new DrawTool(this.plane, this.sketches)
    this.#readout = new Readout(this.#osd, this.plane)
    this.#osd.addHandler('update-viewport', () => this.#measure())
    this.#osd.addHandler('canvas-key', (event) => this.#pressed(event))
    this.#osd.addHandler('tile-load-failed', (event) => this.#missed(event))
    for (const rest of ['animation-finish', 'open', 'rotate', 'flip'] as const) this.#osd.addHandler(rest, onMove)
    onlyTheSlide(this.#osd.navigator?.world)
    this.#osd.world.addHandler('add-item', ({ item }) => {
      item.addHandler('fully-loaded-change', () => this.#sayWhetherBusy())
    })
  }

  /**
   * Show a slide; where it should be looked at is given in level-0 px.
   *
   * Returns whether it is shown: false if another call, or `close`, came before its end.
   */
  async open(slide: SlideInfo, place: Place | null): Promise<boolean> {
    const turn = ++this.#opened
    this.#missingSaid.clear()
    this.#overlay.clear()
    this.sketches.clear()
    this.setMpp(slide.geometry.mpp_x, slide.geometry.mpp_y)
    this.#osd.close()
    const image = await this.#add(`/v1/slides/${slide.id}/slide.dzi`).catch((error: unknown) => {
      if (turn === this.#opened) throw error
      return null
    })
    if (turn !== this.#opened || image === null) {
      if (image !== null) this.#osd.world.removeItem(image)
      return false
    }
    // Opening a slide shows a panel beside it. OpenSeadragon sees the new size only with its next frame.
    const { clientWidth, clientHeight } = this.#element
    this.#osd.viewport.resize(new OpenSeadragon.Point(clientWidth, clientHeight), true)
    this.#upright(true)
    this.#osd.viewport.goHome(true)
    if (place !== null) this.goTo(place)
    this.#measure()
    return true
  }

  /** Show nothing. */
  close(): void {
    this.#opened += 1
    this.#overlay.clear()
    this.sketches.clear()
    this.#osd.close()
  }

  /** Say how wide a level-0 px is; null if nobody knows. */
  setMpp(x: number | null, y: number | null): void {
    this.#mpp = x !== null && y !== null ? [x, y] : null
    this.#measure()
    this.changes.dispatchEvent(new Event('mpp'))
  }

  /** Return how wide a level-0 px is, in µm. */
  mpp(): Mpp {
    return this.#mpp
  }

  /** Lay tiles over the slide, in place of those that lie there; see `OverlayLayer.show`. */
  async showOverlay(address: string, version: string, look: Look): Promise<void> {
    await this.#overlay.show(address, version, look)
  }

  /** Take the overlay away. */
  clearOverlay(): void {
    this.#overlay.clear()
  }

  setOpacity(opacity: number): void {
    this.#overlay.setOpacity(opacity)
  }

  /** Draw the overlay anew after its look has changed. */
  async redrawOverlay(): Promise<void> {
    await this.#whileBusy(this.#overlay.redraw())
  }

  /** What the layers beside the overlay are laid on. */
  get osd(): OpenSeadragon.Viewer {
    return this.#osd
  }

  get overlay(): OverlayLayer {
    return this.#overlay
  }

  /** Lay tiles over all that is there. */
  addTiles(tileSource: string, options: LayerOptions): Promise<OpenSeadragon.TiledImage> {
    return this.#add(tileSource, options)
  }

  /** Return where the view is; null before a slide is open. */
  place(): Place | null {
    return this.plane.place()
  }

  goTo(place: Place): void {
    this.plane.goTo(place)
  }

  zoomBy(factor: number): void {
    this.#osd.viewport.zoomBy(factor)
    this.#osd.viewport.applyConstraints()
  }

  /** Show as much as a microscope does with this magnification. */
  magnify(times: number): void {
    const image = this.plane.image()
    if (image === null || this.#mpp === null) return
    this.#osd.viewport.zoomTo(image.imageToViewportZoom((times * this.#mpp[0]) / UM_AT_1X))
    this.#osd.viewport.applyConstraints()
  }

  /** Turn what is seen by 90° clockwise. */
  turn(): void {
    const { viewport } = this.#osd
    viewport.setRotation(viewport.getRotation() + (viewport.getFlip() ? -90 : 90))
    viewport.applyConstraints()
  }

  mirror(): void {
    this.#osd.viewport.toggleFlip()
  }

  /** Show all of the slide, upright and not mirrored. */
  home(): void {
    this.#upright(false)
    this.#osd.viewport.goHome()
  }

  #upright(isAtOnce: boolean): void {
    this.#osd.viewport.setRotation(0, isAtOnce)
    this.#osd.viewport.setFlip(false)
  }

  #pressed(event: OpenSeadragon.CanvasKeyEvent): void {
    if ((event.originalEvent as KeyboardEvent).key === '0') this.#upright(false) // OpenSeadragon itself goes home
  }

  /** Add tiles on top. */
  #add(tileSource: string, options: LayerOptions = {}): Promise<OpenSeadragon.TiledImage> {
    const noteKey = (): void => {
      this.#key = currentKey()
    }
    return this.#whileBusy(addTiles(this.#osd, tileSource, options, noteKey))
  }

  async #whileBusy<T>(work: Promise<T>): Promise<T> {
    this.#pending += 1
    this.#sayWhetherBusy()
    try {
      return await work
    } finally {
      this.#pending -= 1
      this.#sayWhetherBusy()
    }
  }

  #sayWhetherBusy(): void {
    const { world } = this.#osd
    const images = Array.from({ length: world.getItemCount() }, (_, index) => world.getItemAt(index))
    const isBusy = this.#pending > 0 || images.some((image) => !image.getFullyLoaded())
    this.#element.setAttribute('aria-busy', String(isBusy))
  }

  /** A tile did not come: ask for a key if that is why, or else tell it, once of the slide and once of what lies on it. */
  #missed({ tiledImage, tileRequest, maxReached }: OpenSeadragon.TileLoadFailedEvent): void {
    if (tileRequest?.status === UNAUTHORIZED) {
      void hasOtherKey(this.#key) // with a new one, all of it is opened again
      return
    }
    const what = tiledImage === this.plane.image() ? VIEW.slide : VIEW.overlay
    if (!maxReached || this.#missingSaid.has(what)) return
    this.#missingSaid.add(what)
    report(new Error(VIEW.missing(what)), this.openAgain)
  }

  #measure(): void {
    this.#readout.show(this.place()?.z ?? null, this.#mpp)
  }
}

/**
 * OpenSeadragon adds a style to the page, which the server's policy forbids, unless it finds one with this mark. The
 * mark is an element of no vocabulary: it has the name that is looked for, and is no style.
 */
function withoutInlineStyle(): void {
  const mark = document.createElementNS('urn:mark', 'style')
  mark.setAttribute('data-openseadragon-mobile-css', 'true')
  document.head.append(mark)
}

/** Keep overlays out of the small picture of all: it has them in the model's colours, also of classes that are off. */
function onlyTheSlide(world: OpenSeadragon.World | undefined): void {
  world?.addHandler('add-item', ({ item }) => {
    if (world.getIndexOfItem(item) > 0) setTimeout(() => world.removeItem(item)) // once it has been added for good
  })
}
