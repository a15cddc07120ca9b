/** One place for what went wrong and belongs to no part of the page. */

import { button, byId, el } from './dom'

/** Show why something did not work. */
export function report(error: unknown): void {
  const text = error instanceof Error ? error.message : String(error)
  const notice = el('p', {}, text)
  notice.append(button('×', () => notice.remove(), 'Dismiss'))
  byId('notices', HTMLElement).replaceChildren(notice)
}

/** Take away what was shown. */
export function clearNotices(): void {
  byId('notices', HTMLElement).replaceChildren()
}
