/** The classes of a result: colour, name, area, share of the tissue, number of objects, and whether each is shown. */

import { button, el } from './dom'
import { area, share } from './measure'
import type { Look } from './overlay'
import { LEGEND } from './strings'
import type { ClassStatistics, ModelClass } from './types'

/** Return the legend as a table. Index 0 is the background, which has nothing to show. */
export function legendTable(
  classes: (ModelClass | ClassStatistics)[],
  look: Look,
  onChange: () => void,
): HTMLTableElement {
  const head = el('tr', {}, ...LEGEND.columns.map((text) => el('th', { scope: 'col', textContent: text })))
  const rows = classes.map((each) => row(each, look, onChange))
  return el('table', { className: 'legend' }, el('thead', {}, head), el('tbody', {}, ...rows))
}

function row(each: ModelClass | ClassStatistics, look: Look, onChange: () => void): HTMLTableRowElement {
  const measured = 'mm2' in each
  const name = each.index === 0 ? each.name : classCell(each, look, onChange)
  return el(
    'tr',
    {},
    el('th', { scope: 'row' }, name),
    el('td', { textContent: measured ? area(each.mm2) : '–' }),
    el('td', { textContent: measured ? share(each.share_of_tissue) : '–' }),
    el('td', { textContent: measured ? String(each.count ?? '–') : '–' }),
  )
}

function classCell(each: ModelClass, look: Look, onChange: () => void): HTMLElement {
  return el('span', { className: 'class' }, swatch(each, look, onChange), el('label', {}, toggle(each, look, onChange), each.name))
}

function toggle(each: ModelClass, look: Look, onChange: () => void): HTMLInputElement {
  const box = el('input', { type: 'checkbox', checked: !look.isHidden(each.index) })
  box.addEventListener('change', () => {
    look.set(each.index, box.checked)
    onChange()
  })
  return box
}

/** The colour of a class, and another one at choice. */
function swatch(each: ModelClass, look: Look, onChange: () => void): HTMLInputElement {
  const patch = el('input', { type: 'color', className: 'swatch', value: look.palette.paintOf(each).color })
  patch.setAttribute('aria-label', LEGEND.colour(each.name))
  patch.addEventListener('change', () => {
    look.palette.choose(each, { color: patch.value })
    onChange()
  })
  return patch
}

/** Return how opaque each class is, and ways back to usual colours. `again` draws the legend anew. */
export function classPaints(classes: ModelClass[], look: Look, onChange: () => void, again: () => void): HTMLElement[] {
  const shown = classes.filter(({ index }) => index > 0)
  const rows = shown.map((each) => {
    const value = String(Math.round(100 * look.palette.paintOf(each).opacity))
    const range = el('input', { type: 'range', min: '0', max: '100', value })
    range.addEventListener('change', () => {
      look.palette.choose(each, { opacity: Number(range.value) / 100 })
      onChange()
    })
    return el('label', { className: 'line' }, each.name, range)
  })
  const usual = button(LEGEND.usual, () => {
    look.palette.reset(shown)
    again()
  })
  const models = button(LEGEND.models, () => {
    look.palette.takeModels(shown)
    again()
  })
  return [...rows, el('div', { className: 'choices' }, usual, models)]
}
