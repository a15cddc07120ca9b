/** How many objects of each class there are, and how large and dense they are, without corrections and with them. */

import { el } from './dom'
import { area } from './measure'
import type { Amount, CorrectedStatistics } from './review_types'
import { REVIEW } from './strings'

/** Return the counts as a table: two rows for each class. */
export function countsTable({ classes }: CorrectedStatistics): HTMLTableElement {
  const head = el('tr', {}, ...REVIEW.columns.map((text) => el('th', { scope: 'col', textContent: text })))
  const bodies = classes.map(({ name, without, corrected }) => {
    const isOther = without.count !== corrected.count || without.mm2 !== corrected.mm2
    const title = el('th', { scope: 'rowgroup', textContent: name, colSpan: REVIEW.columns.length, className: 'class-name' })
    return el('tbody', {}, el('tr', {}, title), row(REVIEW.without, without, false), row(REVIEW.with, corrected, isOther))
  })
  return el('table', { className: 'counts' }, el('thead', {}, head), ...bodies)
}

function row(title: string, { count, mm2, density_per_mm2: density }: Amount, isOther: boolean): HTMLTableRowElement {
  return el(
    'tr',
    { className: isOther ? 'other' : '' },
    el('th', { scope: 'row', textContent: title }),
    el('td', { textContent: count === null ? '–' : String(count) }),
    el('td', { textContent: area(mm2) }),
    el('td', { textContent: density === null ? '–' : density.toFixed(density < 10 ? 2 : 0) }),
  )
}
