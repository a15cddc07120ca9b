/** A model before it is used: what it is for, what was measured of it, and why it may not suit a slide. */

import { el } from './dom'
import { CARD } from './strings'
import type { Mpp } from './shapes'
import type { ModelCard, SlideInfo } from './types'

/** A slide may be so many times coarser than a model; the server refuses more (`mpp_out_of_range`). */
const COARSEST = 2
/** What figures are called that do not belong to one class. */
const METRICS: Record<string, string> = CARD.metrics

/** Return why the server would not take a model for this slide, null if nothing speaks against it. */
export function unsuited(card: ModelCard, slide: SlideInfo, mpp: Mpp): string | null {
  const kind = slide.modality?.name ?? 'unknown'
  if (kind !== 'unknown' && (kind === 'fluorescence') !== (card.modality === 'fluorescence')) return CARD.otherKind(kind.replace('_', ' '), card.modality)
  const coarsest = COARSEST * card.mpp
  return mpp !== null && Math.max(...mpp) > coarsest ? CARD.tooCoarse(Math.max(...mpp), coarsest) : null
}

/** Return all that is known of a model. */
export function cardOf(card: ModelCard): HTMLElement[] {
  const classes = card.classes.filter(({ index }) => index > 0).map(({ name }) => name)
  const rows: [string, string][] = [
    [CARD.title, card.title],
    [CARD.mpp, CARD.native(card.mpp, COARSEST * card.mpp)],
    [CARD.kind, card.modality],
    [CARD.classes, classes.join(', ')],
    ...(card.objects.smallest_um2 > 0 ? [[CARD.smallest, `${card.objects.smallest_um2} µm²`] as [string, string]] : []),
    [CARD.limits, card.intended_use],
    [CARD.license, card.license],
    [CARD.weights, card.digest.slice(0, 12)],
  ]
  const list = el('dl', {}, ...rows.flatMap(([term, value]) => [el('dt', { textContent: term }), el('dd', { textContent: value })]))
  const figures = figuresOf(card)
  return figures.length === 0 ? [list, el('p', { className: 'hint', textContent: CARD.noFigures })] : [list, table(figures)]
}

interface Figure {
  name: string
  data: string
  value: string
}

/** Put figures into words: `dice_nucleus_tnbc_test` with its `_low` and `_high` is one line. */
function figuresOf({ figures, classes }: ModelCard): Figure[] {
  const prefixes = [...Object.keys(METRICS), ...classes.map(({ name }) => `dice_${name}`)].sort((a, b) => b.length - a.length)
  const isEnd = (key: string): boolean => /_(low|high)$/.test(key) && key.replace(/_(low|high)$/, '') in figures
  return Object.entries(figures)
    .filter(([key]) => !isEnd(key))
    .map(([key, value]) => {
      const prefix = prefixes.find((each) => key.startsWith(`${each}_`)) ?? key
      const [low, high] = [figures[`${key}_low`], figures[`${key}_high`]]
      const range = low !== undefined && high !== undefined ? ` (${low.toFixed(2)}–${high.toFixed(2)})` : ''
      const name = METRICS[prefix] ?? prefix.replace(/^dice_/, 'Dice, ').replaceAll('_', ' ')
      return { name, data: key.slice(prefix.length + 1).replaceAll('_', ' '), value: `${value.toFixed(2)}${range}` }
    })
}

function table(figures: Figure[]): HTMLTableElement {
  const head = el('tr', {}, ...CARD.columns.map((text) => el('th', { scope: 'col', textContent: text })))
  const rows = figures.map(({ name, data, value }) => el('tr', {}, ...[data, name, value].map((text) => el('td', { textContent: text }))))
  return el('table', { className: 'figures' }, el('caption', { textContent: CARD.figures }), el('thead', {}, head), el('tbody', {}, ...rows))
}
