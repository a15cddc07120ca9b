/** One slide in the list: picture, name, badges of its jobs, a box to choose several. */

import { send } from './api'
import { button, el } from './dom'
import { bytes, moment } from './measure'
import { LIST } from './strings'
import { type Badge, BADGES } from './standing'
import type { SlideInfo } from './types'

const THUMBNAIL_PX = 128

/** What can be done with a slide; `pick` adds it to those that are chosen together, or takes it out. */
export interface SlideActions {
  open: () => void
  remove: () => void
  pick: (isPicked: boolean) => void
}

/** Fetches the pictures of slides that come into sight, no others. */
const sight = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue
    sight.unobserve(target)
    void showThumbnail(target as HTMLImageElement)
  }
})

export class SlideRow {
  readonly item: HTMLLIElement
  readonly #choose: HTMLButtonElement
  readonly #pick = el('input', { type: 'checkbox' })
  readonly #badges = el('span', { className: 'badges' })

  constructor(
    readonly slide: SlideInfo,
    actions: SlideActions,
  ) {
    const { l0_width, l0_height } = slide.geometry
    const picture = el('img', { alt: '', width: 56, height: 56 })
    picture.dataset['slide'] = slide.id
    sight.observe(picture)
    const text = el('span', {}, el('strong', { textContent: slide.filename, title: slide.filename }), el('small', {
      textContent: `${l0_width} × ${l0_height} px · ${bytes(slide.size_bytes)} · ${moment(slide.created_at)}`,
    }), this.#badges)
    this.#choose = button('', actions.open)
    this.#choose.className = 'choose'
    this.#choose.dataset['id'] = slide.id
    this.#choose.append(picture, text)
    this.#pick.setAttribute('aria-label', LIST.pick(slide.filename))
    this.#pick.addEventListener('change', () => actions.pick(this.#pick.checked))
    const remove = button('×', actions.remove, LIST.removeOf(slide.filename))
    this.item = el('li', {}, this.#pick, this.#choose, remove)
  }

  /** Mark it as the one that is shown, or not. */
  mark(isShown: boolean): void {
    this.#choose.setAttribute('aria-pressed', String(isShown))
  }

  pick(isPicked: boolean): void {
    this.#pick.checked = isPicked
  }

  /** Say how its jobs stand. */
  badge(badges: ReadonlySet<Badge>): void {
    const shown = BADGES.filter((each) => badges.has(each))
    this.#badges.replaceChildren(...shown.map((each) => el('span', { className: `badge ${each}`, textContent: LIST.badges[each] })))
  }
}

/** An `<img>` cannot send a key, so the picture is fetched. */
async function showThumbnail(picture: HTMLImageElement): Promise<void> {
  try {
    const answer = await send(`/v1/slides/${picture.dataset['slide'] ?? ''}/thumbnail.jpeg?max_px=${THUMBNAIL_PX}`)
    const url = URL.createObjectURL(await answer.blob())
    picture.onload = () => URL.revokeObjectURL(url)
    picture.src = url
  } catch {
    // a slide without its picture is still a slide
  }
}
