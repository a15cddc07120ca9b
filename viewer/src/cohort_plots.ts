/** Two small plots of a column of a cohort, as SVG: a bar for each slide, and how the values are distributed. */

import { el } from './dom'
import { COHORT } from './strings'

const SVG = 'http://www.w3.org/2000/svg'
const [WIDTH, HEIGHT] = [320, 150]
const [LEFT, RIGHT, TOP, BOTTOM] = [40, 8, 10, 22]
const BINS_MOST = 12
/** Bars that have names below them; more would not be read. */
const NAMED = 8

export interface Value {
  name: string
  value: number
}

/** Return the plots of the values that there are, in the order of the table. */
export function plots(values: readonly Value[], title: string): HTMLElement[] {
  if (values.length === 0) return [el('p', { className: 'hint', textContent: COHORT.noValues })]
  return [figure(bars(values), COHORT.each(title)), figure(histogram(values), COHORT.distribution(title, values.length))]
}

function figure(picture: SVGSVGElement, title: string): HTMLElement {
  picture.setAttribute('aria-label', title)
  return el('figure', {}, picture, el('figcaption', { textContent: title }))
}

function bars(values: readonly Value[]): SVGSVGElement {
  const most = roundUp(Math.max(...values.map(({ value }) => value)))
  const step = (WIDTH - LEFT - RIGHT) / values.length
  const picture = frame(most)
  values.forEach(({ name, value }, i) => {
    const x = LEFT + i * step + step * 0.1
    const bar = rectangle(x, yOf(value, most), step * 0.8, HEIGHT - BOTTOM - yOf(value, most))
    bar.append(made('title', {}, `${name}: ${short(value)}`))
    picture.append(bar)
    if (values.length <= NAMED) picture.append(label(x + step * 0.4, HEIGHT - 8, shortened(name, step), 'middle'))
  })
  return picture
}

function histogram(values: readonly Value[]): SVGSVGElement {
  const numbers = values.map(({ value }) => value)
  const most = roundUp(Math.max(...numbers))
  const count = Math.min(BINS_MOST, Math.max(3, Math.ceil(Math.sqrt(numbers.length)) + 1))
  const bins = Array.from({ length: count }, () => 0)
  for (const value of numbers) {
    const at = Math.min(count - 1, Math.floor((value / most) * count))
    bins[at] = (bins[at] ?? 0) + 1
  }
  const highest = Math.max(...bins)
  const picture = frame(highest)
  const step = (WIDTH - LEFT - RIGHT) / count
  bins.forEach((bin, i) => {
    const top = yOf(bin, highest)
    const bar = rectangle(LEFT + i * step + 1, top, step - 2, HEIGHT - BOTTOM - top)
    bar.append(made('title', {}, COHORT.bin(short((i * most) / count), short(((i + 1) * most) / count), bin)))
    picture.append(bar)
  })
  picture.append(label(LEFT, HEIGHT - 8, '0', 'start'), label(WIDTH - RIGHT, HEIGHT - 8, short(most), 'end'))
  const middle = LEFT + ((WIDTH - LEFT - RIGHT) * median(numbers)) / most
  const ends = { x1: middle, x2: middle, y1: TOP, y2: HEIGHT - BOTTOM }
  picture.append(made('line', { class: 'ground', ...ends }), made('line', { class: 'median', ...ends }))
  return picture
}

/** Return an empty plot with its axes; the upright one ends with `most`. */
function frame(most: number): SVGSVGElement {
  const picture = made('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img' })
  const base = HEIGHT - BOTTOM
  picture.append(
    made('line', { class: 'axis', x1: LEFT, x2: WIDTH - RIGHT, y1: base, y2: base }),
    made('line', { class: 'axis', x1: LEFT, x2: LEFT, y1: TOP, y2: base }),
    label(LEFT - 4, TOP + 4, short(most), 'end'),
    label(LEFT - 4, base, '0', 'end'),
  )
  return picture
}

function yOf(value: number, most: number): number {
  return TOP + (HEIGHT - BOTTOM - TOP) * (1 - value / most)
}

function rectangle(x: number, y: number, width: number, height: number): SVGRectElement {
  return made('rect', { class: 'bar', x, y, width: Math.max(width, 0.5), height: Math.max(height, 0) })
}

function label(x: number, y: number, text: string, anchor: string): SVGTextElement {
  return made('text', { x, y, 'text-anchor': anchor }, text)
}

function made<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Record<string, string | number>, text = ''): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value))
  element.textContent = text
  return element
}

/** Return 1, 2 or 5 times a power of ten that is at least the value; 1 for nothing. */
function roundUp(value: number): number {
  if (value <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const half = sorted.length / 2
  return sorted.length % 2 === 1 ? (sorted[Math.floor(half)] ?? 0) : ((sorted[half - 1] ?? 0) + (sorted[half] ?? 0)) / 2
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)))
}

function shortened(name: string, width: number): string {
  const most = Math.max(2, Math.floor(width / 6))
  return name.length <= most ? name : `${name.slice(0, most - 1)}…`
}
