/** The part of the address that says what is looked at: `#slide=…&job=…&x=…&y=…&z=…&r=…&m=1`, and layers. */

import { addLayers, type LayerState, parseLayers } from './layer_state'

/** Centre in level-0 px of the full plane, screen px per level-0 px, degrees clockwise, and whether it is mirrored. */
export interface Place {
  x: number
  y: number
  z: number
  turn: number
  isMirrored: boolean
}

export interface View {
  slide: string | null
  job: string | null
  place: Place | null
  layers: LayerState
}

const ID = /^[0-9a-f]{32}$/

/** Return the view that an address names; what makes no sense in it is left out. */
export function parseView(hash: string): View {
  const fields = new URLSearchParams(hash.replace(/^#/, ''))
  const [x, y, z] = ['x', 'y', 'z'].map((name) => Number.parseFloat(fields.get(name) ?? '')) as [number, number, number]
  const isPlace = Number.isFinite(x) && Number.isFinite(y) && Number.isFinite(z) && z > 0
  const place = isPlace ? { x, y, z, turn: upTo360(fields.get('r')), isMirrored: fields.get('m') === '1' } : null
  return { slide: idOf(fields.get('slide')), job: idOf(fields.get('job')), place, layers: parseLayers(fields) }
}

export function formatView(view: View): string {
  const fields = new URLSearchParams()
  if (view.slide) fields.set('slide', view.slide)
  if (view.slide && view.job) fields.set('job', view.job)
  if (view.slide && view.place) {
    fields.set('x', view.place.x.toFixed(1))
    fields.set('y', view.place.y.toFixed(1))
    fields.set('z', String(Number(view.place.z.toPrecision(5))))
    const turn = upTo360(String(view.place.turn))
    if (turn !== 0) fields.set('r', String(turn))
    if (view.place.isMirrored) fields.set('m', '1')
  }
  if (view.slide && view.job) addLayers(fields, view.layers)
  const text = fields.toString()
  return text ? `#${text}` : ''
}

function idOf(text: string | null): string | null {
  return text !== null && ID.test(text) ? text : null
}

function upTo360(text: string | null): number {
  const degrees = Number.parseFloat(text ?? '')
  return Number.isFinite(degrees) ? ((degrees % 360) + 360) % 360 : 0
}
