/** Where classes end within a tile of labels, as lines along the edges of its pixels, and across to the tiles beside it. */

/** The lines of each class, in px of a tile. */
export type Lines = Map<number, Path2D>

/** The edges of one tile. */
export interface TileEdges {
  lines: Lines
  width: number
  height: number
  /** The classes of its outermost px, from which the edges between it and the tiles beside it follow. */
  left: Uint8Array
  right: Uint8Array
  top: Uint8Array
  bottom: Uint8Array
}

/** Return the edges of a tile, given the class of each px, row by row. */
export function edgesOf(indices: Uint8Array, width: number): TileEdges {
  const height = indices.length / width
  const lines: Lines = new Map()
  const column = (x: number): Uint8Array => Uint8Array.from({ length: height }, (_, y) => indices[y * width + x] ?? 0)
  const row = (y: number): Uint8Array => indices.slice(y * width, (y + 1) * width)
  let [above, before] = [row(0), column(0)]
  for (let y = 1; y < height; y += 1) {
    const below = row(y)
    between(lines, above, below, (from, to, path) => along(path, from, y, to, y))
    above = below
  }
  for (let x = 1; x < width; x += 1) {
    const after = column(x)
    between(lines, before, after, (from, to, path) => along(path, x, from, x, to))
    before = after
  }
  return { lines, width, height, left: column(0), right: column(width - 1), top: row(0), bottom: row(height - 1) }
}

/** Return the edges between a tile and those to its right and below it, in its px. */
export function seamsOf(tile: TileEdges, right: TileEdges | undefined, below: TileEdges | undefined): Lines {
  const lines: Lines = new Map()
  const { width, height } = tile
  if (right) between(lines, tile.right, right.left, (from, to, path) => along(path, width, from, width, to))
  if (below) between(lines, tile.bottom, below.top, (from, to, path) => along(path, from, height, to, height))
  return lines
}

/** Draw a line wherever two rows of px differ, for each class that ends there. */
function between(lines: Lines, one: Uint8Array, other: Uint8Array, draw: (from: number, to: number, path: Path2D) => void): void {
  const length = Math.min(one.length, other.length)
  let from = 0
  for (let at = 1; at <= length; at += 1) {
    if (at < length && one[at] === one[from] && other[at] === other[from]) continue
    const [a = 0, b = 0] = [one[from], other[from]]
    if (a !== b) for (const index of [a, b]) if (index > 0) draw(from, at, pathOf(lines, index))
    from = at
  }
}

function pathOf(lines: Lines, index: number): Path2D {
  const path = lines.get(index) ?? new Path2D()
  lines.set(index, path)
  return path
}

function along(path: Path2D, x0: number, y0: number, x1: number, y1: number): void {
  path.moveTo(x0, y0)
  path.lineTo(x1, y1)
}
