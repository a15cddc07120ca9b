/** Numbers as people read them, and the arithmetic of the scale bar. */

export interface ScaleBar {
  px: number
  label: string
}

const STEPS = [1, 2, 5]

/** Return the longest bar of 1, 2 or 5 times a power of ten µm that is at most `maxPx` long. */
export function scaleBar(umPerPx: number, maxPx: number): ScaleBar {
  const limit = umPerPx * maxPx
  const power = 10 ** Math.floor(Math.log10(limit))
  const um = Math.max(...STEPS.map((step) => step * power).filter((length) => length <= limit), power)
  return { px: um / umPerPx, label: um >= 1000 ? `${plain(um / 1000)} mm` : `${plain(um)} µm` }
}

/** Return a number without the noise of binary fractions. */
function plain(value: number, digits = 6): string {
  return String(Number(value.toPrecision(digits)))
}

export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = count
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit] ?? ''}`
}

export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

export function area(mm2: number): string {
  return `${mm2 === 0 ? '0' : mm2 < 0.001 ? '< 0.001' : mm2.toFixed(mm2 < 10 ? 3 : 1)} mm²`
}

/** Return an area of level-0 px in words: µm² or mm², or px² where nobody knows how wide a px is. */
export function areaOf(px2: number, mpp: [number, number] | null): string {
  if (mpp === null) return `${Math.round(px2).toLocaleString('en')} px²`
  const um2 = px2 * mpp[0] * mpp[1]
  return um2 >= 10_000 ? `${plain(um2 / 1e6, 3)} mm²` : `${plain(um2, 3)} µm²`
}

/** Return a length in words: µm or mm, or px where nobody knows how wide a px is. */
export function lengthOf(length: number, mpp: [number, number] | null): string {
  if (mpp === null) return `${Math.round(length)} px`
  return length >= 1000 ? `${plain(length / 1000, 3)} mm` : `${plain(length, 3)} µm`
}

export function share(value: number | null): string {
  return value === null ? '–' : `${(100 * value).toFixed(1)} %`
}

export function moment(iso: string): string {
  return new Date(iso).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })
}
