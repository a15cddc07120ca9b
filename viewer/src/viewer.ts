/** The slide and the overlay on it: OpenSeadragon, with a scale bar and positions in level-0 px and µm. */

import OpenSeadragon from 'openseadragon'
import { keyHeaders } from './api'
import { byId } from './dom'
import { scaleBar } from './measure'
import { hideColors, type Hidden } from './overlay'
import type { SlideInfo } from './types'
import type { Place } from './view_link'

const MAX_SCALE_BAR_PX = 160
const MOST_SCREEN_PX_PER_PX = 8
const SCROLL_ZOOM = 1.4

export class SlideViewer {
  readonly #osd: OpenSeadragon.Viewer
  readonly #element = byId('slide', HTMLElement)
  readonly #bar = byId('scale-bar', HTMLElement)
  readonly #position = byId('position', HTMLElement)
  #overlay: OpenSeadragon.TiledImage | null = null
  #hidden: Hidden | null = null
  #opacity = 0.5
  #opened = 0
  #pending = 0
  #mpp: [number, number] | null = null

  /** `onMove` is told whenever the view has come to rest. */
  constructor(onMove: () => void) {
    const element = this.#element
    withoutInlineStyle()
    const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches
    this.#osd = new OpenSeadragon.Viewer({
      element,
      drawer: 'canvas',
      crossOriginPolicy: 'Anonymous',
      loadTilesWithAjax: true,
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: 'TOP_RIGHT',
      navigatorSizeRatio: 0.16,
      navigatorAutoFade: false,
      navigatorBackground: '#e4e9eb',
      navigatorBorderColor: '#52636a',
      preserveImageSizeOnResize: true,
      animationTime: isCalm ? 0 : 0.5,
      maxZoomPixelRatio: MOST_SCREEN_PX_PER_PX,
      zoomPerScroll: SCROLL_ZOOM,
      visibilityRatio: 0.3,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    })
    this.#osd.canvas.setAttribute('role', 'application')
    this.#osd.canvas.setAttribute('aria-label', 'Slide. Arrow keys move, plus and minus zoom, 0 shows all of it.')
    this.#osd.addHandler('tile-invalidated', (event) => this.#filter(event))
    this.#osd.addHandler('update-viewport', () => this.#measure())
    for (const rest of ['animation-finish', 'open'] as const) this.#osd.addHandler(rest, onMove)
    this.#osd.world.addHandler('add-item', ({ item }) => {
      item.addHandler('fully-loaded-change', () => this.#sayWhetherBusy())
    })
    element.addEventListener('pointermove', (event) => this.#say(event))
    element.addEventListener('pointerleave', () => this.#say(null))
  }

  /** Show a slide; where it should be looked at is given in level-0 px. */
  open(slide: SlideInfo, place: Place | null): Promise<void> {
    const turn = ++this.#opened
    this.#overlay = null
    this.setMpp(slide.geometry.mpp_x, slide.geometry.mpp_y)
    this.#osd.setAjaxHeaders(keyHeaders())
    this.#osd.close()
    return this.#add(`/v1/slides/${slide.id}/slide.dzi`, 1, () => turn === this.#opened).then((image) => {
      if (image === null) return
      // Opening a slide shows a panel beside it. OpenSeadragon sees the new size only with its next frame.
      const { clientWidth, clientHeight } = this.#element
      this.#osd.viewport.resize(new OpenSeadragon.Point(clientWidth, clientHeight), true)
      this.#osd.viewport.goHome(true)
      if (place !== null) this.goTo(place)
      this.#measure()
    })
  }

  /** Say how wide a level-0 px is; null if nobody knows. */
  setMpp(x: number | null, y: number | null): void {
    this.#mpp = x !== null && y !== null ? [x, y] : null
    this.#measure()
  }

  /** Lay the overlay of a job over the slide, or take away the one that is there. */
  async showOverlay(jobId: string | null, hidden: Hidden | null): Promise<void> {
    const turn = this.#opened
    if (this.#overlay !== null) this.#osd.world.removeItem(this.#overlay)
    this.#overlay = null
    this.#hidden = hidden
    if (jobId === null) return
    const isWanted = (): boolean => turn === this.#opened && hidden === this.#hidden
    this.#overlay = await this.#add(`/v1/jobs/${jobId}/overlay.dzi`, this.#opacity, isWanted)
    this.#overlay?.setOpacity(this.#opacity)
  }

  setOpacity(opacity: number): void {
    this.#opacity = opacity
    this.#overlay?.setOpacity(opacity)
  }

  /** Draw the overlay anew after another class was switched on or off. */
  async refilter(): Promise<void> {
    if (this.#overlay === null) return
    await this.#whileBusy(this.#overlay.requestInvalidate(true))
  }

  /** Return where the view is; null before a slide is open. */
  place(): Place | null {
    const image = this.#slideImage()
    if (image === null) return null
    const center = image.viewportToImageCoordinates(this.#osd.viewport.getCenter(true))
    return { x: center.x, y: center.y, z: image.viewportToImageZoom(this.#osd.viewport.getZoom(true)) }
  }

  goTo(place: Place): void {
    const image = this.#slideImage()
    if (image === null) return
    this.#osd.viewport.zoomTo(image.imageToViewportZoom(place.z), undefined, true)
    this.#osd.viewport.panTo(image.imageToViewportCoordinates(place.x, place.y), true)
  }

  zoomBy(factor: number): void {
    this.#osd.viewport.zoomBy(factor)
    this.#osd.viewport.applyConstraints()
  }

  home(): void {
    this.#osd.viewport.goHome()
  }

  /** Add tiles on top; null if they are not wanted any more when they come. */
  async #add(
    tileSource: string,
    opacity: number,
    isWanted: () => boolean,
  ): Promise<OpenSeadragon.TiledImage | null> {
    const added = new Promise<OpenSeadragon.TiledImage>((resolve, reject) => {
      this.#osd.addTiledImage({
        tileSource,
        opacity,
        success: (event) => resolve((event as unknown as { item: OpenSeadragon.TiledImage }).item),
        error: () => reject(new Error('The picture cannot be shown: the server does not give its tiles.')),
      })
    })
    const image = await this.#whileBusy(added)
    if (isWanted()) return image
    this.#osd.world.removeItem(image)
    return null
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

  #slideImage(): OpenSeadragon.TiledImage | null {
    return this.#osd.world.getItemCount() > 0 ? this.#osd.world.getItemAt(0) : null
  }

  async #filter(event: OpenSeadragon.TileInvalidatedEvent): Promise<void> {
    const colors = event.tiledImage === this.#slideImage() ? undefined : this.#hidden?.colors()
    if (!colors?.size) return
    const context = (await event.getData('context2d')) as CanvasRenderingContext2D
    hideColors(context, colors)
    await event.setData(context, 'context2d')
  }

  #measure(): void {
    const place = this.place()
    this.#bar.hidden = place === null || this.#mpp === null
    if (place !== null && this.#mpp !== null) {
      const { px, label } = scaleBar(this.#mpp[0] / place.z, MAX_SCALE_BAR_PX)
      this.#bar.style.width = `${px}px`
      this.#bar.textContent = label
    }
    this.#say(null)
  }

  /** Write where the pointer is, or else the centre of the view. */
  #say(event: PointerEvent | null): void {
    const image = this.#slideImage()
    this.#position.hidden = image === null
    if (image === null) return
    const at = event ? this.#imagePoint(image, event) : image.viewportToImageCoordinates(this.#osd.viewport.getCenter(true))
    const [x, y] = [Math.floor(at.x), Math.floor(at.y)]
    const um = this.#mpp && ` · ${(at.x * this.#mpp[0]).toFixed(1)}, ${(at.y * this.#mpp[1]).toFixed(1)} µm`
    this.#position.textContent = `${event ? 'Pointer' : 'Centre'} ${x}, ${y} px${um ?? ''}`
  }

  #imagePoint(image: OpenSeadragon.TiledImage, event: PointerEvent): OpenSeadragon.Point {
    const box = this.#osd.element.getBoundingClientRect()
    const pixel = new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top)
    return image.viewportToImageCoordinates(this.#osd.viewport.pointFromPixel(pixel, true))
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
