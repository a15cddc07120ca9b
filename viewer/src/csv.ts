/** Tables as the server writes them: CSV after RFC 4180. */

/** Return each row as an object by the names of the columns; an empty field is an empty text. */
export function parseCsv(text: string): Record<string, string>[] {
  const [head = [], ...rows] = linesOf(text)
  return rows.map((row) => Object.fromEntries(head.map((name, i) => [name, row[i] ?? ''])))
}

/** Return the fields of each line. A field in quotes may hold commas, ends of lines, and quotes, which are doubled. */
function linesOf(text: string): string[][] {
  const lines: string[][] = []
  let line: string[] = []
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    if (end === '' && line.length === 0 && quoted === undefined && plain === '') break // behind the last line
    line.push(quoted?.replaceAll('""', '"') ?? plain ?? '')
    if (end === ',') continue
    lines.push(line)
    line = []
    if (end === '') break
  }
  return lines
}
