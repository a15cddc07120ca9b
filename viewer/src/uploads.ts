/** Uploads: chosen or dropped files go up by tus, go on after a lost line or a reload, and are then checked. */

import type * as tus from 'tus-js-client'
import { getJson, keyEvents, Refused, remove } from './api'
import { button, byId, el, pause } from './dom'
import { bytes } from './measure'
import { announce, report } from './notices'
import { ENDPOINT, isForWantOfAKey, reasonOf, uploadOf } from './sending'
import { NOTICE, UPLOAD } from './strings'
import type { Page, UploadView } from './types'
import { Row } from './upload_row'
import { rejection } from './error_messages'

const CHECK_MS = 1000
const LISTED = 50
/** So many earlier uploads do not push the slides out of sight. */
const SHOWN_OPEN = 2
const TUS = { 'Tus-Resumable': '1.0.0' }

/** The uploads that are not slides yet. `onSlide` is told the id of each one that has become a slide. */
export class Uploads {
  /** What goes on now, and what ended while the page was open. */
  readonly #list = byId('uploads', HTMLUListElement)
  readonly #earlier = byId('earlier-uploads', HTMLUListElement)
  readonly #rows = new Map<string, Row>()

  constructor(private readonly onSlide: (slideId: string) => void) {
    const zone = byId('drop', HTMLElement)
    const input = byId('file', HTMLInputElement)
    input.addEventListener('change', () => {
      for (const file of input.files ?? []) void this.#start(file)
      input.value = ''
    })
    document.addEventListener('dragover', (event) => {
      event.preventDefault()
      zone.classList.add('over')
    })
    document.addEventListener('dragleave', (event) => {
      if (event.relatedTarget === null) zone.classList.remove('over')
    })
    document.addEventListener('drop', (event) => {
      event.preventDefault()
      zone.classList.remove('over')
      for (const item of event.dataTransfer?.items ?? []) this.#take(item)
    })
  }

  /** Show what the server holds of earlier uploads, and follow those that are fetched or checked. */
  async restore(): Promise<void> {
    const { items } = await getJson<Page<UploadView>>(`${ENDPOINT}?limit=${LISTED}`)
    this.#earlier.replaceChildren()
    for (const upload of items) {
      if (!this.#rows.get(upload.id)?.isIn(this.#list)) this.#restoreOne(upload)
    }
    byId('earlier', HTMLDetailsElement).open = this.#earlier.childElementCount <= SHOWN_OPEN
  }

  #restoreOne(upload: UploadView): void {
    if (upload.state === 'ready') return
    const isOnItsWay = upload.state === 'checking' || (upload.state === 'uploading' && upload.source !== null)
    const row = new Row(isOnItsWay ? this.#list : this.#earlier, upload.filename)
    this.#rows.set(upload.id, row)
    if (isOnItsWay) void this.#check(row, upload.id)
    else if (upload.state === 'rejected') this.#showRejected(row, upload)
    else this.#showIncomplete(row, upload)
  }

  #take(item: DataTransferItem): void {
    const entry = item.webkitGetAsEntry()
    const file = item.getAsFile()
    if (entry?.isDirectory) {
      report(new Error(`${entry.name} is a folder. A slide of several files comes as one zip: zip it, and drop that.`))
    } else if (file !== null) void this.#start(file)
  }

  async #start(file: File): Promise<void> {
    const row = new Row(this.#list, file.name)
    const upload = await uploadOf(file, {
      onProgress: (sent, total) => row.sayBytes(sent, total),
      onError: (error) => this.#showLost(row, upload, error),
      onSuccess: () => void this.#check(row, idOf(upload.url)),
      onUploadUrlAvailable: () => this.#own(row, idOf(upload.url)),
    })
    row.sayBytes(0, file.size)
    row.actions(...this.#controls(row, upload))
    upload.start()
  }

  /** Make a row that of an upload, in place of what a reload had cut off. It is told again after each pause. */
  #own(row: Row, id: string): void {
    const before = this.#rows.get(id)
    if (before !== row) before?.remove()
    this.#rows.set(id, row)
  }

  #controls(row: Row, upload: tus.Upload): HTMLButtonElement[] {
    let isRunning = true
    const toggle = button(UPLOAD.pause, () => {
      isRunning = !isRunning
      toggle.textContent = isRunning ? UPLOAD.pause : UPLOAD.goOn
      if (isRunning) upload.start()
      else void upload.abort()
    })
    const cancel = button(UPLOAD.cancel, () => {
      row.remove()
      void upload.abort(true).catch(() => undefined) // what stays on the server there ends by itself
    })
    return [toggle, cancel]
  }

  /** Follow what the server does with a file until it is a slide, or is not going to be one. */
  async #check(row: Row, id: string): Promise<void> {
    row.actions()
    row.say(UPLOAD.checking, null)
    announce(UPLOAD.checks(row.name))
    for (;;) {
      try {
        const upload = await getJson<UploadView>(`${ENDPOINT}/${id}`)
        if (this.#isDone(row.renamed(upload.filename), upload)) return
      } catch (error) {
        if (!(error instanceof Refused && error.mayPass())) {
          this.#showUnknown(row, id, error)
          return
        }
        row.say(UPLOAD.silent, null)
      }
      await pause(CHECK_MS)
    }
  }

  /** Show where an upload stands; return whether that was the end. */
  #isDone(row: Row, upload: UploadView): boolean {
    if (upload.state === 'uploading') row.say(UPLOAD.fetches(bytes(upload.offset), bytes(upload.length)), upload.offset / upload.length)
    else if (upload.state === 'checking') row.say(UPLOAD.checking, null)
    else if (upload.state === 'rejected') {
      this.#showRejected(row, upload)
      announce(UPLOAD.refused(upload.filename))
    } else {
      row.remove()
      announce(UPLOAD.ready(upload.filename))
      if (upload.slide_id !== null) this.onSlide(upload.slide_id)
    }
    return upload.state === 'rejected' || upload.state === 'ready'
  }

  #showLost(row: Row, upload: tus.Upload, error: Error): void {
    this.#showStopped(row, reasonOf(error), isForWantOfAKey(error), () => {
      row.actions(...this.#controls(row, upload))
      upload.start()
    })
  }

  #showUnknown(row: Row, id: string, error: unknown): void {
    const status = error instanceof Refused ? error.status : 0
    if (status === 404 || status === 410) {
      this.#showStopped(row, UPLOAD.gone, false, null)
    } else {
      const text = error instanceof Error ? error.message : String(error)
      this.#showStopped(row, text, status === 401, () => void this.#check(row, id))
    }
  }

  /** Say why it does not go on, and go on when somebody says so, or when there is the key that was missing. */
  #showStopped(row: Row, reason: string, needsKey: boolean, goOn: (() => void) | null): void {
    const listening = new AbortController()
    const again = (): void => {
      listening.abort()
      row.say(UPLOAD.goesOn, null)
      goOn?.()
    }
    if (needsKey) keyEvents.addEventListener('change', again, { signal: listening.signal })
    row.fail(el('p', { className: 'error', textContent: reason }))
    announce(`${row.name}: ${reason}`)
    const dismiss = button(NOTICE.dismiss, () => {
      listening.abort()
      row.remove()
    })
    row.actions(...(goOn ? [button(NOTICE.again, again)] : []), dismiss)
  }

  #showIncomplete(row: Row, upload: UploadView): void {
    const text = UPLOAD.incomplete(bytes(upload.offset), bytes(upload.length))
    row.say(text, upload.offset / upload.length)
    row.actions(this.#dismiss(row, upload.id, UPLOAD.discard))
  }

  #showRejected(row: Row, upload: UploadView): void {
    row.fail(...rejection(upload.error, upload.filename))
    row.actions(this.#dismiss(row, upload.id, NOTICE.dismiss))
  }

  #dismiss(row: Row, id: string, text: string): HTMLButtonElement {
    return button(text, () => {
      row.remove()
      void remove(`${ENDPOINT}/${id}`, TUS).catch(() => undefined) // gone already
    })
  }
}

function idOf(url: string | null): string {
  return url?.split('/').pop() ?? ''
}
