/** What the view says of itself: scale bar, magnification, position of the pointer, and how it is turned. */

import type OpenSeadragon from 'openseadragon'
import { byId } from './dom'
import { scaleBar } from './measure'
import type { Plane } from './plane'
import type { Mpp } from './shapes'
import { VIEW } from './strings'

const MAX_SCALE_BAR_PX = 160
/** µm per screen px at a magnification of one: at 40× a pixel of a screen shows 0.25 µm. */
export const UM_AT_1X = 10
/** Of the magnification asked for: what still counts as it. */
const CLOSE = 0.01

export class Readout {
  readonly #bar = byId('scale-bar', HTMLElement)
  readonly #noScale = byId('no-scale', HTMLButtonElement)
  readonly #position = byId('position', HTMLElement)
  readonly #magnification = byId('magnification', HTMLElement)
  readonly #steps = [...document.querySelectorAll<HTMLButtonElement>('button[data-magnification]')]
  readonly #turned = byId('turned', HTMLElement)

  constructor(
    private readonly osd: OpenSeadragon.Viewer,
    private readonly plane: Plane,
  ) {
    const element = osd.element
    element.addEventListener('pointermove', (event) => this.#say(event))
    element.addEventListener('pointerleave', () => this.#say(null))
    this.#noScale.addEventListener('click', () => {
      byId('settings', HTMLDetailsElement).open = true
      byId('mpp', HTMLInputElement).focus()
    })
  }

  #mpp: Mpp = null

  /** Write it anew. `zoom`: screen px per level-0 px, null while nothing is shown. */
  show(zoom: number | null, mpp: Mpp): void {
    this.#mpp = mpp
    this.#bar.hidden = zoom === null || mpp === null
    this.#noScale.hidden = zoom === null || mpp !== null
    const times = zoom === null || mpp === null ? null : (zoom * UM_AT_1X) / mpp[0]
    if (zoom !== null && mpp !== null) {
      const { px, label } = scaleBar(mpp[0] / zoom, MAX_SCALE_BAR_PX)
      this.#bar.style.width = `${px}px`
      this.#bar.textContent = label
    }
    this.#magnification.textContent = times === null ? '' : `${times.toPrecision(times < 10 ? 2 : 3)}×`
    for (const step of this.#steps) {
      const wanted = Number(step.dataset['magnification'])
      step.disabled = times === null
      step.title = times === null ? VIEW.noMagnification : ''
      step.setAttribute('aria-pressed', String(times !== null && Math.abs(times / wanted - 1) < CLOSE))
    }
    const { viewport } = this.osd
    const words = VIEW.turned(zoom === null ? 0 : viewport.getRotation(), zoom !== null && viewport.getFlip())
    this.#turned.hidden = words === ''
    this.#turned.textContent = words
    this.#say(null)
  }

  /** Write where the pointer is, or else the centre of the view. */
  #say(event: PointerEvent | null): void {
    const image = this.plane.image()
    this.#position.hidden = image === null
    if (image === null) return
    const centre = image.viewportToImageCoordinates(this.osd.viewport.getCenter(true))
    const at = (event && this.plane.under(event)) ?? centre
    const [x, y] = [Math.floor(at.x), Math.floor(at.y)]
    const um = this.#mpp && ` · ${(at.x * this.#mpp[0]).toFixed(1)}, ${(at.y * this.#mpp[1]).toFixed(1)} µm`
    this.#position.textContent = `${event ? VIEW.pointer : VIEW.centre} ${x}, ${y} px${um ?? ''}`
  }
}
