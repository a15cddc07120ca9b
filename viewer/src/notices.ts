/** One place for what went wrong and belongs to no part of the page, and one for what screen readers say. */

import { button, byId, el } from './dom'
import { NOTICE } from './strings'

/** Show why something did not work, and offer to try again where that may help. */
export function report(error: unknown, again?: () => void): void {
  const text = error instanceof Error ? error.message : String(error)
  const notice = el('p', {}, el('span', {}, text))
  const retry = (): void => {
    notice.remove()
    again?.()
  }
  if (again) notice.append(button(NOTICE.again, retry))
  notice.append(button('×', () => notice.remove(), NOTICE.dismiss))
  byId('notices', HTMLElement).replaceChildren(notice)
}

/** Take away what was shown. */
export function clearNotices(): void {
  byId('notices', HTMLElement).replaceChildren()
}

/** Let screen readers say something, between other things. */
export function announce(text: string): void {
  byId('status', HTMLElement).textContent = text
}
