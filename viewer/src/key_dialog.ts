/** Asks for a key. */

import { byId } from './dom'

/** Return the key that the person enters, null if they give none. `isWrong`: the one they gave is not taken. */
export function askForKey(isWrong: boolean): Promise<string | null> {
  const dialog = byId('key-dialog', HTMLDialogElement)
  const form = byId('key-form', HTMLFormElement)
  const field = byId('key-field', HTMLInputElement)
  byId('key-wrong', HTMLElement).hidden = !isWrong
  field.value = ''
  return new Promise((resolve) => {
    const done = (key: string | null): void => {
      form.onsubmit = dialog.oncancel = null
      dialog.close()
      field.value = ''
      resolve(key)
    }
    form.onsubmit = (event) => {
      event.preventDefault()
      if (field.value.trim()) done(field.value.trim())
    }
    dialog.oncancel = (event) => {
      event.preventDefault()
      done(null)
    }
    byId('key-cancel', HTMLButtonElement).onclick = () => done(null)
    dialog.showModal()
  })
}
