/** What lies over the slide beside the overlay, as the address keeps it: `map=…&sure=…&with=…&by=…&at=…`. */

export type MapKind = 'none' | 'confidence' | 'density' | 'difference'
export type Arrangement = 'side' | 'swipe'

export interface LayerState {
  map: MapKind
  /** Per cent; what the model is less sure of is not drawn. */
  sure: number
  /** What is compared with the chosen job: another job, or the slide alone. */
  with: string | null
  by: Arrangement
  /** Where the slide is divided, per cent of its width. */
  at: number
}

export const BARE = 'slide'
const MAPS: readonly string[] = ['confidence', 'density', 'difference']

/** Return what an address says of layers; what makes no sense in it is left out. */
export function parseLayers(fields: URLSearchParams): LayerState {
  const map = fields.get('map') ?? ''
  const other = fields.get('with') ?? ''
  return {
    map: MAPS.includes(map) ? (map as MapKind) : 'none',
    sure: perCent(fields.get('sure'), 0),
    with: other === BARE || /^[0-9a-f]{32}$/.test(other) ? other : null,
    by: fields.get('by') === 'swipe' ? 'swipe' : 'side',
    at: perCent(fields.get('at'), 50),
  }
}

/** The overlay alone. */
export const USUAL = parseLayers(new URLSearchParams())

/** Add to an address what is not as usual. */
export function addLayers(fields: URLSearchParams, state: LayerState): void {
  if (state.map !== 'none') fields.set('map', state.map)
  if (state.sure > 0) fields.set('sure', String(state.sure))
  if (state.with === null) return
  fields.set('with', state.with)
  if (state.by === 'swipe') fields.set('by', 'swipe')
  if (state.by === 'swipe' && state.at !== 50) fields.set('at', String(state.at))
}

function perCent(text: string | null, usual: number): number {
  const value = Number.parseInt(text ?? '', 10)
  return value >= 0 && value <= 100 ? value : usual
}
