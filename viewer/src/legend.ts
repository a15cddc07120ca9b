/** The classes of a result: colour, name, area, share of the tissue, number of objects, and whether each is shown. */

import { el } from './dom'
import { area, share } from './measure'
import type { Look } from './overlay'
import type { ClassStatistics, ModelClass } from './types'

/** Return the legend as a table. Index 0 is the background, which has nothing to show. */
export function legendTable(
  classes: (ModelClass | ClassStatistics)[],
  look: Look,
  onToggle: () => void,
): HTMLTableElement {
  const head = el('tr', {}, ...['Class', 'Area', 'Of tissue', 'Objects'].map((text) => el('th', { scope: 'col', textContent: text })))
  const rows = classes.map((each) => row(each, look, onToggle))
  return el('table', { className: 'legend' }, el('thead', {}, head), el('tbody', {}, ...rows))
}

function row(each: ModelClass | ClassStatistics, look: Look, onToggle: () => void): HTMLTableRowElement {
  const measured = 'mm2' in each
  const name = each.index === 0 ? each.name : el('label', {}, toggle(each, look, onToggle), swatch(each), each.name)
  return el(
    'tr',
    {},
    el('th', { scope: 'row' }, name),
    el('td', { textContent: measured ? area(each.mm2) : '–' }),
    el('td', { textContent: measured ? share(each.share_of_tissue) : '–' }),
    el('td', { textContent: measured ? String(each.count ?? '–') : '–' }),
  )
}

function toggle(each: ModelClass, look: Look, onToggle: () => void): HTMLInputElement {
  const box = el('input', { type: 'checkbox', checked: !look.isHidden(each.index) })
  box.addEventListener('change', () => {
    look.set(each.index, box.checked)
    onToggle()
  })
  return box
}

function swatch(each: ModelClass): HTMLSpanElement {
  const patch = el('span', { className: 'swatch' })
  patch.style.backgroundColor = `rgb(${each.color.join(' ')})`
  return patch
}
