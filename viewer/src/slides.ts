/** The list of slides: all of them, as they are searched, sorted and filtered, and several chosen together. */

import { getJson, remove } from './api'
import { byId, el } from './dom'
import { bytes } from './measure'
import { report } from './notices'
import { Picked } from './picked'
import { SlideRow } from './slide_row'
import { type Badge, Standing } from './standing'
import { LIST } from './strings'
import type { Page, SlideInfo, Usage } from './types'

const PAGE = 200
/** So many come by themselves; older ones are asked for. */
const AT_ONCE = 2000

type Order = 'newest' | 'oldest' | 'name' | 'size'

const ORDERS: Record<Order, (a: SlideInfo, b: SlideInfo) => number> = {
  newest: (a, b) => b.created_at.localeCompare(a.created_at),
  oldest: (a, b) => a.created_at.localeCompare(b.created_at),
  name: (a, b) => a.filename.localeCompare(b.filename, undefined, { numeric: true }),
  size: (a, b) => b.size_bytes - a.size_bytes,
}

export class Slides {
  readonly #list = byId('slides', HTMLUListElement)
  readonly #more = byId('more-slides', HTMLButtonElement)
  readonly #empty = byId('no-slides', HTMLElement)
  readonly #usage = byId('usage', HTMLElement)
  readonly #search = byId('find-slides', HTMLInputElement)
  readonly #order = byId('sort-slides', HTMLSelectElement)
  readonly #filter = byId('filter-slides', HTMLSelectElement)
  readonly #tools = byId('slide-tools', HTMLElement)
  readonly #standing = new Standing(() => this.#badge())
  readonly picked: Picked
  #rows = new Map<string, SlideRow>()
  #cursor: string | null = null
  #chosen: string | null = null
  /** Of two requests on their way, the later one counts. */
  #turn = 0

  /** `onBatch` starts jobs on slides that were chosen together. */
  constructor(
    private readonly onChoose: (slide: SlideInfo | null) => void,
    onBatch: (slides: SlideInfo[]) => Promise<void>,
  ) {
    this.picked = new Picked({
      start: onBatch,
      remove: (slides) => this.#deleteAll(slides),
      shown: () => [...this.#rows.values()].filter(({ item }) => item.isConnected).map(({ slide }) => slide),
      onChange: (ids) => this.#rows.forEach((row, id) => row.pick(ids.has(id))),
    })
    this.#more.addEventListener('click', () => void this.#load(this.#cursor).catch(report))
    this.#search.addEventListener('input', () => this.#arrange())
    for (const each of [this.#order, this.#filter]) each.addEventListener('change', () => this.#rearrange())
  }

  /** Read all slides anew. */
  async refresh(): Promise<void> {
    await this.#load(null)
    void this.#standing.refresh()
    void this.#showUsage()
  }

  /** Read anew how the jobs stand. */
  jobsChanged(): void {
    void this.#standing.refresh()
  }

  /** Mark a slide as the one that is shown, and bring it into sight. */
  mark(slideId: string | null): void {
    this.#chosen = slideId
    for (const [id, row] of this.#rows) row.mark(id === slideId)
    if (slideId !== null) this.#rows.get(slideId)?.item.scrollIntoView({ block: 'nearest' })
  }

  /** Take what has changed of a slide. */
  replace(slide: SlideInfo): void {
    const before = this.#rows.get(slide.id)
    if (before === undefined) return
    const row = this.#made(slide)
    this.#rows.set(slide.id, row)
    before.item.replaceWith(row.item)
    row.mark(slide.id === this.#chosen)
  }

  /** Read one page after the other; a slide that is there already keeps its row. */
  async #load(from: string | null): Promise<void> {
    const turn = ++this.#turn
    const before = from === null ? this.#rows : new Map<string, SlideRow>()
    const rows = from === null ? new Map<string, SlideRow>() : this.#rows
    this.#more.disabled = true
    try {
      let cursor = from
      for (let read = 0; read < AT_ONCE; read += PAGE) {
        const query = new URLSearchParams({ limit: String(PAGE), ...(cursor === null ? {} : { cursor }) })
        const page = await getJson<Page<SlideInfo>>(`/v1/slides?${query}`)
        if (turn !== this.#turn) return
        for (const slide of page.items) rows.set(slide.id, before.get(slide.id) ?? this.#made(slide))
        cursor = this.#cursor = page.next_cursor ?? null
        if (this.#rows.size <= rows.size || cursor === null) this.#rows = rows
        this.#arrange()
        if (cursor === null) break
      }
    } finally {
      if (turn === this.#turn) this.#more.disabled = false
    }
    this.#more.hidden = this.#cursor === null
    this.mark(this.#chosen)
  }

  /** Put the rows that are wanted into the list, in the order that is wanted. */
  #arrange(): void {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean)
    const wanted = this.#filter.value as Badge | 'none' | ''
    const fits = ({ slide }: SlideRow): boolean => {
      const badges = this.#standing.of(slide.id)
      const isWanted = wanted === '' || (wanted === 'none' ? badges.size === 0 : badges.has(wanted))
      const name = slide.filename.toLowerCase()
      return isWanted && words.every((word) => name.includes(word))
    }
    const compare = ORDERS[this.#order.value as Order]
    const shown = [...this.#rows.values()].filter(fits).sort((a, b) => compare(a.slide, b.slide))
    this.#list.replaceChildren(...shown.map(({ item }) => item))
    this.#empty.hidden = shown.length > 0
    this.#empty.textContent = this.#rows.size > 0 ? LIST.noneFits : LIST.none
    this.#tools.hidden = this.#rows.size < 2
    byId('slides-count', HTMLElement).textContent = LIST.count(shown.length, this.#rows.size)
    this.picked.keepOnly(this.#rows)
  }

  #rearrange(): void {
    this.#arrange()
    this.mark(this.#chosen)
  }

  #badge(): void {
    for (const [id, row] of this.#rows) row.badge(this.#standing.of(id))
    if (this.#filter.value !== '') this.#arrange()
  }

  /** Say how much is stored, and may be. A server that cannot tell now is asked again with the next list. */
  async #showUsage(): Promise<void> {
    try {
      const { stored_bytes, quota_bytes } = await getJson<Usage>('/v1/usage')
      this.#usage.textContent = LIST.usage(bytes(stored_bytes), quota_bytes === 0 ? null : bytes(quota_bytes))
      this.#usage.hidden = false
    } catch {
      this.#usage.hidden = true
    }
  }

  #made(slide: SlideInfo): SlideRow {
    const row = new SlideRow(slide, {
      open: () => this.onChoose(slide),
      remove: () => void this.#delete(slide),
      pick: (isPicked) => this.picked.pick(slide, isPicked),
    })
    row.badge(this.#standing.of(slide.id))
    row.pick(this.picked.has(slide.id))
    return row
  }

  async #delete(slide: SlideInfo): Promise<void> {
    if (!confirm(LIST.remove(slide.filename))) return
    await this.#deleteAll([slide])
  }

  /** Delete slides, one after the other; what the server does not delete stays, with its reason. */
  async #deleteAll(slides: SlideInfo[]): Promise<void> {
    const reasons: string[] = []
    for (const slide of slides) {
      try {
        await remove(`/v1/slides/${slide.id}`)
        this.#rows.delete(slide.id)
        if (this.#chosen === slide.id) this.onChoose(null)
      } catch (error) {
        reasons.push(`${slide.filename}: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
    this.#arrange()
    await this.refresh().catch(report)
    if (reasons.length > 0) report(new Error(reasons.join(' ')))
  }
}

/** Fill the lists of choices. */
export function fillChoices(): void {
  const options = (texts: Record<string, string>): HTMLOptionElement[] =>
    Object.entries(texts).map(([value, textContent]) => el('option', { value, textContent }))
  byId('sort-slides', HTMLSelectElement).replaceChildren(...options(LIST.orders))
  byId('filter-slides', HTMLSelectElement).replaceChildren(...options({ '': LIST.any, ...LIST.filters }))
}
