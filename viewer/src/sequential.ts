/** From a share of 0 to 1 to a colour: dark blue to yellow, ever lighter, for every kind of colour vision the same order. */

import { el } from './dom'

/** Of cividis (Nuñez, Anderton and Renslow 2018), evenly spaced. A test computes that each is lighter than the one before. */
export const STEPS = ['#00224e', '#123570', '#3b496c', '#575d6d', '#707173', '#8a8678', '#a59c74', '#c3b369', '#e1cc55', '#fee838'] as const

const WIDTH = 256

/** Return 256 colours as red, green, blue. */
export const TABLE: readonly [number, number, number][] = Array.from({ length: WIDTH }, (_, i) => {
  const at = (i / (WIDTH - 1)) * (STEPS.length - 1)
  const [low, high] = [channels(STEPS[Math.floor(at)]), channels(STEPS[Math.ceil(at)])]
  const mixed = low.map((value, channel) => Math.round(value + (at % 1) * ((high[channel] ?? value) - value)))
  return mixed as [number, number, number]
})

/** Return a bar of the colours, from left to right. */
function colourBar(label: string): HTMLCanvasElement {
  const canvas = Object.assign(document.createElement('canvas'), { width: WIDTH, height: 1, className: 'colour-bar' })
  canvas.setAttribute('role', 'img')
  canvas.setAttribute('aria-label', label)
  const context = canvas.getContext('2d')
  const image = context?.createImageData(WIDTH, 1)
  if (!context || !image) return canvas
  TABLE.forEach((color, i) => image.data.set([...color, 255], 4 * i))
  context.putImageData(image, 0, 0)
  return canvas
}

/** Return the colours with what their ends stand for. */
export function scale(low: string, high: string, label: string): HTMLElement[] {
  return [colourBar(label), el('div', { className: 'ends' }, el('span', { textContent: low }), el('span', { textContent: high }))]
}

function channels(color: string | undefined): number[] {
  const value = Number.parseInt((color ?? '#000000').slice(1), 16)
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255]
}
