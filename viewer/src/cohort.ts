/** Batches, and each of them as one table: a row for each slide, sorted by any column, with two plots of it. */

import { getJson, send } from './api'
import { plots } from './cohort_plots'
import { parseCsv } from './csv'
import { button, byId, el } from './dom'
import { fetchResult } from './downloads'
import { USUAL } from './layer_state'
import { moment } from './measure'
import { report } from './notices'
import type { Batch } from './review_types'
import { COHORT } from './strings'
import type { Page } from './types'
import { formatView } from './view_link'

const LISTED = 20

type Row = Record<string, string>
interface Column {
  title: string
  /** What it is sorted by; a text if it is none. */
  value: (row: Row) => number | string | null
  text: (row: Row) => string
  isText: boolean
}

export class Cohorts {
  readonly #list = byId('batch-list', HTMLUListElement)
  readonly #dialog = byId('cohort', HTMLDialogElement)
  readonly #class = byId('cohort-class', HTMLSelectElement)
  readonly #table = byId('cohort-table', HTMLTableElement)
  #batch: Batch | null = null
  #rows: Row[] = []
  #sorted = { column: 0, isDown: false }

  constructor() {
    this.#class.addEventListener('change', () => this.#draw())
    byId('cohort-close', HTMLButtonElement).onclick = () => this.#dialog.close()
    for (const kind of ['csv', 'parquet'] as const) {
      const item = byId(`cohort-${kind}`, HTMLButtonElement)
      const name = `cohort.${kind}`
      item.onclick = () => void (this.#batch && fetchResult(item, `/v1/batches/${this.#batch.id}/${name}`, name))
    }
    byId('batches', HTMLDetailsElement).addEventListener('toggle', () => void this.refresh().catch(report))
  }

  /** List the batches, the newest first. */
  async refresh(): Promise<void> {
    const { items } = await getJson<Page<Batch>>(`/v1/batches?limit=${LISTED}`)
    byId('batches', HTMLDetailsElement).hidden = items.length === 0
    this.#list.replaceChildren(...items.map((batch) => this.#item(batch)))
  }

  #item(batch: Batch): HTMLLIElement {
    const counts = Object.entries(batch.counts).map(([state, count]) => `${count} ${state}`)
    const title = el('span', {}, moment(batch.created_at), el('small', { textContent: counts.join(', ') }))
    const open = button(COHORT.open, () => void this.#open(batch.id).catch(report), COHORT.openOf(moment(batch.created_at)))
    return el('li', {}, title, open)
  }

  async #open(batchId: string): Promise<void> {
    const [batch, table] = await Promise.all([getJson<Batch>(`/v1/batches/${batchId}`), send(`/v1/batches/${batchId}/cohort.csv`)])
    this.#batch = batch
    this.#rows = parseCsv(await table.text())
    byId('cohort-title', HTMLElement).textContent = COHORT.title(this.#rows.length, moment(batch.created_at))
    const classes = Object.keys(this.#rows[0] ?? {}).flatMap((name) => (name.startsWith('count_') && name !== 'count_background' ? [name.slice('count_'.length)] : []))
    this.#class.replaceChildren(...classes.map((name) => el('option', { value: name, textContent: name })))
    byId('cohort-class-line', HTMLElement).hidden = classes.length === 0
    this.#sorted = { column: 0, isDown: false }
    this.#draw()
    if (!this.#dialog.open) this.#dialog.showModal()
  }

  #columns(): Column[] {
    const of = this.#class.value
    const words = of === '' ? [] : [
      number(COHORT.mm2, `mm2_${of}`, (value) => String(Number(value.toPrecision(3)))),
      number(COHORT.share, `share_${of}`, (value) => `${(100 * value).toFixed(1)} %`),
      number(COHORT.count, `count_${of}`, String),
      number(COHORT.density, `per_mm2_${of}`, (value) => value.toFixed(value < 10 ? 2 : 0)),
    ]
    return [
      text(COHORT.slide, (row) => row['name'] || row['slide'] || ''),
      text(COHORT.state, (row) => row['state'] ?? ''),
      number(COHORT.tissue, 'tissue_mm2', (value) => value.toFixed(3)),
      ...words,
      text(COHORT.warnings, (row) => row['error'] || (row['warnings'] ?? '').replaceAll(',', ', ')),
    ]
  }

  #draw(): void {
    const columns = this.#columns()
    const { column, isDown } = this.#sorted
    const by = columns[column] ?? columns[0]
    const rows = by === undefined ? this.#rows : [...this.#rows].sort((a, b) => compared(by.value(a), by.value(b), isDown))
    this.#table.replaceChildren(
      el('thead', {}, el('tr', {}, ...columns.map((each, i) => this.#head(each, i)))),
      el('tbody', {}, ...rows.map((row) => this.#line(row, columns))),
    )
    const of = this.#class.value
    const values = rows.flatMap((row) => {
      const value = numberIn(row, `per_mm2_${of}`)
      return value === null ? [] : [{ name: row['name'] ?? '', value }]
    })
    byId('cohort-plots', HTMLElement).replaceChildren(...(of === '' ? [] : plots(values, COHORT.densityOf(of))))
  }

  #head({ title, isText }: Column, i: number): HTMLTableCellElement {
    const isSorted = i === this.#sorted.column
    const sort = button(title, () => {
      this.#sorted = { column: i, isDown: isSorted && !this.#sorted.isDown }
      this.#draw()
      this.#table.querySelectorAll<HTMLButtonElement>('thead button')[i]?.focus()
    })
    const cell = el('th', { scope: 'col', className: isText ? 'words' : '' }, sort)
    if (isSorted) cell.setAttribute('aria-sort', this.#sorted.isDown ? 'descending' : 'ascending')
    return cell
  }

  #line(row: Row, columns: Column[]): HTMLTableRowElement {
    const [first, ...others] = columns
    const job = this.#batch?.items.find(({ slide_id }) => slide_id === row['slide'])?.job_id ?? null
    const name = first?.text(row) ?? ''
    const link = el('a', { href: formatView({ slide: row['slide'] ?? null, job, place: null, layers: USUAL }), textContent: name })
    link.addEventListener('click', () => this.#dialog.close())
    return el('tr', {}, el('th', { scope: 'row' }, link), ...others.map((each) => el('td', { textContent: each.text(row), className: each.isText ? 'words' : '' })))
  }
}

function text(title: string, of: (row: Row) => string): Column {
  return { title, value: of, text: of, isText: true }
}

function number(title: string, name: string, told: (value: number) => string): Column {
  return {
    title,
    isText: false,
    value: (row) => numberIn(row, name),
    text: (row) => {
      const value = numberIn(row, name)
      return value === null ? '–' : told(value)
    },
  }
}

function numberIn(row: Row, name: string): number | null {
  const value = Number.parseFloat(row[name] ?? '')
  return Number.isFinite(value) ? value : null
}

/** Compare two values of a column; what is not known comes last either way. */
function compared(a: number | string | null, b: number | string | null, isDown: boolean): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null)
  const order = typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true })
  return isDown ? -order : order
}
