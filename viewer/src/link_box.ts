/** The link to the view, to copy from: off TLS and off this machine a page may not write to the clipboard. */

import { button, byId, el } from './dom'
import { announce } from './notices'
import { LINK } from './strings'

/** Show an address and copy it if that is allowed. Escape and *Close* go back to where one came from. */
export async function showLink(address: string): Promise<void> {
  const box = byId('link', HTMLElement)
  const field = el('input', { readOnly: true, value: address })
  field.setAttribute('aria-label', LINK.label)
  const close = (): void => {
    box.replaceChildren()
    byId('copy-link', HTMLButtonElement).focus()
  }
  const said = el('span')
  box.replaceChildren(field, said, button(LINK.close, close))
  box.onkeydown = (event) => {
    if (event.key === 'Escape') close()
  }
  field.focus()
  field.select()
  const isCopied = (await navigator.clipboard?.writeText(address).then(() => true, () => false)) ?? false
  said.textContent = isCopied ? LINK.copied : LINK.copy
  announce(said.textContent)
}
