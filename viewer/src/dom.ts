/** Elements made one by one, never of markup: what a slide's name says is text. */

type Child = Node | string | null

/** Return an element with these properties and children. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties) as HTMLElementTagNameMap[K]
  element.append(...children.filter((child) => child !== null))
  return element
}

/** Return a button; `label` is what a screen reader says where the text alone would not do. */
export function button(text: string, onClick: () => void, label?: string): HTMLButtonElement {
  const element = el('button', { type: 'button', textContent: text })
  element.addEventListener('click', onClick)
  if (label) element.setAttribute('aria-label', label)
  return element
}

/** Return the element of the page with this id. */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new Error(`The page has no ${kind.name} #${id}`)
  return found
}

/** Return a bar for a share of 0 to 1; null shows that it is not known. */
export function progressBar(share: number | null, label: string): HTMLProgressElement {
  const bar = el('progress', { max: 1 })
  if (share !== null) bar.value = share
  bar.setAttribute('aria-label', label)
  return bar
}

/** Wait some milliseconds. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
