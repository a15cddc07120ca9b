/** The list of slides. */

import { getJson, remove, send } from './api'
import { button, byId, el } from './dom'
import { bytes, moment } from './measure'
import { report } from './notices'
import type { Page, SlideInfo, Usage } from './types'

const PAGE = 50
const THUMBNAIL_PX = 128

export class Slides {
  readonly #list = byId('slides', HTMLUListElement)
  readonly #more = byId('more-slides', HTMLButtonElement)
  readonly #empty = byId('no-slides', HTMLElement)
  readonly #usage = byId('usage', HTMLElement)
  #cursor: string | null = null
  #chosen: string | null = null
  /** Of two requests on their way, the later one counts. */
  #turn = 0

  constructor(private readonly onChoose: (slide: SlideInfo | null) => void) {
    this.#more.addEventListener('click', () => void this.#load(this.#cursor).catch(report))
  }

  /** Read the newest slides anew. */
  async refresh(): Promise<void> {
    await this.#load(null)
    void this.#showUsage()
  }

  /** Mark a slide as the one that is shown. */
  mark(slideId: string | null): void {
    this.#chosen = slideId
    for (const choice of this.#list.querySelectorAll<HTMLButtonElement>('button.choose')) {
      choice.setAttribute('aria-pressed', String(choice.dataset['id'] === slideId))
    }
  }

  /** Take what has changed of a slide. */
  replace(slide: SlideInfo): void {
    this.#list.querySelector(`button.choose[data-id="${slide.id}"]`)?.closest('li')?.replaceWith(this.#item(slide))
    this.mark(this.#chosen)
  }

  async #load(cursor: string | null): Promise<void> {
    const query = new URLSearchParams({ limit: String(PAGE), ...(cursor === null ? {} : { cursor }) })
    const turn = ++this.#turn
    this.#more.disabled = true
    let page: Page<SlideInfo>
    try {
      page = await getJson<Page<SlideInfo>>(`/v1/slides?${query}`)
    } finally {
      if (turn === this.#turn) this.#more.disabled = false
    }
    if (turn !== this.#turn) return
    if (cursor === null) this.#list.replaceChildren()
    this.#list.append(...page.items.map((slide) => this.#item(slide)))
    this.#cursor = page.next_cursor ?? null
    this.#more.hidden = this.#cursor === null
    this.#empty.hidden = this.#list.childElementCount > 0
    this.mark(this.#chosen)
  }

  /** Say how much is stored, and may be. A server that cannot tell now is asked again with the next list. */
  async #showUsage(): Promise<void> {
    try {
      const { stored_bytes, quota_bytes } = await getJson<Usage>('/v1/usage')
      const most = quota_bytes === 0 ? '' : ` of ${bytes(quota_bytes)}`
      this.#usage.textContent = `Slides and results: ${bytes(stored_bytes)}${most}`
      this.#usage.hidden = false
    } catch {
      this.#usage.hidden = true
    }
  }

  #item(slide: SlideInfo): HTMLLIElement {
    const { l0_width, l0_height } = slide.geometry
    const picture = el('img', { alt: '', width: 56, height: 56 })
    void showThumbnail(picture, slide.id)
    const text = el('span', {}, el('strong', { textContent: slide.filename, title: slide.filename }), el('small', {
      textContent: `${l0_width} × ${l0_height} px · ${bytes(slide.size_bytes)} · ${moment(slide.created_at)}`,
    }))
    const choose = button('', () => this.onChoose(slide))
    choose.className = 'choose'
    choose.dataset['id'] = slide.id
    choose.append(picture, text)
    const item = el('li', {}, choose, button('×', () => void this.#delete(slide, item), `Delete ${slide.filename}`))
    return item
  }

  async #delete(slide: SlideInfo, item: HTMLLIElement): Promise<void> {
    if (!confirm(`Delete ${slide.filename} from the server?`)) return
    try {
      await remove(`/v1/slides/${slide.id}`)
      item.remove()
      if (this.#chosen === slide.id) this.onChoose(null)
      await this.refresh()
    } catch (error) {
      report(error)
    }
  }
}

/** An `<img>` cannot send a key, so the picture is fetched. */
async function showThumbnail(picture: HTMLImageElement, slideId: string): Promise<void> {
  try {
    const answer = await send(`/v1/slides/${slideId}/thumbnail.jpeg?max_px=${THUMBNAIL_PX}`)
    const url = URL.createObjectURL(await answer.blob())
    picture.onload = () => URL.revokeObjectURL(url)
    picture.src = url
  } catch {
    picture.hidden = true // a slide without its picture is still a slide
  }
}
