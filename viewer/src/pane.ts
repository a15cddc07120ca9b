/** A second picture of the slide, with another job's overlay or none. It goes where the first one goes, and leads it. */

import OpenSeadragon from 'openseadragon'
import { addTiles } from './add_tiles'
import { ConfidenceMask } from './confidence'
import { byId } from './dom'
import { whenMade } from './made'
import type { Look } from './overlay'
import { OverlayLayer } from './overlay_layer'
import { Plane } from './plane'
import { COMPARE } from './strings'
import type { SlideViewer } from './viewer'
import type { Place } from './view_link'
import { viewerOptions } from './viewer_options'

/** Of a screen px, or of a zoom: what is not worth a move. */
const SAME = 1e-4

export class Pane {
  readonly element = byId('other', HTMLElement)
  readonly #osd: OpenSeadragon.Viewer
  readonly #plane: Plane
  readonly overlay: OverlayLayer
  /** Whether a person moves this picture, and the first one follows. */
  #leads = false
  #slideId: string | null = null
  #opening: Promise<unknown> = Promise.resolve()
  readonly #mask = new ConfidenceMask()
  /** Ends what is on its way. */
  #work = new AbortController()
  #version = 0
  #pending = 0

  constructor(private readonly viewer: SlideViewer) {
    this.#osd = new OpenSeadragon.Viewer({ ...viewerOptions(), element: this.element })
    this.#osd.world.addHandler('add-item', ({ item }) => {
      item.addHandler('fully-loaded-change', () => this.#sayWhetherBusy())
    })
    this.#osd.canvas.setAttribute('role', 'application')
    this.#osd.canvas.setAttribute('aria-label', COMPARE.keys)
    this.#plane = new Plane(this.#osd)
    this.overlay = new OverlayLayer(this.#osd, this.#plane, (source, options) => addTiles(this.#osd, source, options))
    this.overlay.mask = (tile, indices) => this.#mask.apply(tile.getUrl(), indices)
    for (const begin of ['pointerenter', 'pointerdown', 'focusin'] as const) {
      this.element.addEventListener(begin, () => this.#lead(true))
      viewer.osd.element.addEventListener(begin, () => this.#lead(false))
    }
    this.element.addEventListener('focusout', () => this.#lead(this.element.matches(':hover')))
    document.addEventListener('pointerup', () => this.#lead(this.element.matches(':hover')))
    this.element.addEventListener('pointerleave', (event) => {
      if (event.buttons === 0) this.#lead(this.element.contains(document.activeElement)) // else it is still dragged
    })
    for (const osd of [viewer.osd, this.#osd]) osd.addHandler('update-viewport', () => this.#agree())
    this.#osd.addHandler('canvas-key', (event) => {
      if ((event.originalEvent as KeyboardEvent).key !== '0') return
      this.#leads = false
      viewer.home()
    })
  }

  /**
   * Show the slide, and the overlay of a job on it if there is one; what the model was less sure of than `sure` per cent
   * is left out. Of two calls the later one counts.
   */
  async show(slideId: string, jobId: string | null, look: Look | null, sure: number): Promise<void> {
    this.#pending += 1
    this.#sayWhetherBusy()
    try {
      await this.#lay(slideId, jobId, look, sure)
    } finally {
      this.#pending -= 1
      this.#sayWhetherBusy()
    }
  }

  async #lay(slideId: string, jobId: string | null, look: Look | null, sure: number): Promise<void> {
    this.#work.abort()
    this.#work = new AbortController()
    const { signal } = this.#work
    this.#version += 1
    if (slideId !== this.#slideId) {
      this.#slideId = slideId
      this.overlay.clear()
      this.#osd.close()
      this.#opening = addTiles(this.#osd, `/v1/slides/${slideId}/slide.dzi`, {})
    }
    await this.#opening
    if (signal.aborted) return
    const { clientWidth, clientHeight } = this.element
    this.#osd.viewport.resize(new OpenSeadragon.Point(clientWidth, clientHeight), true)
    this.#agree()
    if (jobId === null || look === null) {
      this.overlay.clear()
      return
    }
    if (sure > 0) await whenMade(`/v1/jobs/${jobId}/confidence.dzi`, signal)
    this.#mask.sure = sure
    await this.overlay.show(`/v1/jobs/${jobId}/overlay.dzi`, String(this.#version), look)
  }

  close(): void {
    this.#work.abort()
    this.#mask.forget()
    this.#leads = false
    this.#slideId = null
    this.overlay.clear()
    this.#osd.close()
  }

  #sayWhetherBusy(): void {
    const { world } = this.#osd
    const images = Array.from({ length: world.getItemCount() }, (_, index) => world.getItemAt(index))
    this.element.setAttribute('aria-busy', String(this.#pending > 0 || images.some((image) => !image.getFullyLoaded())))
  }

  #lead(leads: boolean): void {
    this.#leads = leads
  }

  #agree(): void {
    if (this.#slideId === null) return
    if (this.#leads) follow(this.#plane, this.viewer.plane)
    else follow(this.viewer.plane, this.#plane)
  }
}

/** Let one picture show what another one does. */
function follow(leader: Plane, follower: Plane): void {
  const [wanted, is] = [leader.place(), follower.place()]
  if (wanted === null || is === null || isSame(wanted, is)) return
  follower.goTo(wanted)
}

function isSame(one: Place, other: Place): boolean {
  const off = Math.max(Math.abs(one.x - other.x), Math.abs(one.y - other.y)) * one.z
  return off < SAME && Math.abs(one.z / other.z - 1) < SAME && one.turn === other.turn && one.isMirrored === other.isMirrored
}
