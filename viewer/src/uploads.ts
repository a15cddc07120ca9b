/** Uploads: chosen or dropped files go up by tus, go on after a lost line or a reload, and are then checked. */

import * as tus from 'tus-js-client'
import { getJson, keyHeaders, remove, sentence } from './api'
import { button, byId, el, progressBar } from './dom'
import { bytes } from './measure'
import type { Page, UploadView } from './types'
import { rejection } from './words'

const ENDPOINT = '/v1/uploads'
const CHUNK_BYTES = 32 * 1024 * 1024
const RETRY_DELAYS_MS = [0, 1000, 3000, 5000, 10_000, 20_000]
const CHECK_MS = 1000
const TUS = { 'Tus-Resumable': '1.0.0' }

/** The list of uploads that are not slides yet. `onSlide` is told the id of each one that has become a slide. */
export class Uploads {
  readonly #list = byId('uploads', HTMLUListElement)
  readonly #rows = new Map<string, Row>()

  constructor(private readonly onSlide: (slideId: string) => void) {
    const zone = byId('drop', HTMLElement)
    const input = byId('file', HTMLInputElement)
    input.addEventListener('change', () => {
      this.#take(input.files)
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
      this.#take(event.dataTransfer?.files ?? null)
    })
  }

  /** Show what the server holds of earlier uploads, and follow those that are being checked. */
  async restore(): Promise<void> {
    const { items } = await getJson<Page<UploadView>>(`${ENDPOINT}?limit=50`)
    for (const upload of items) {
      const row = this.#row(upload.id)
      if (upload.state === 'uploading') this.#showCutOff(row, upload)
      else if (upload.state === 'rejected') this.#showRejected(row, upload)
      else if (upload.state === 'checking') void this.#check(row, upload.id)
      else row.remove()
    }
  }

  #take(files: FileList | null): void {
    for (const file of files ?? []) void this.#start(file)
  }

  async #start(file: File): Promise<void> {
    const row = new Row(this.#list, file.name)
    const upload = new tus.Upload(file, {
      endpoint: ENDPOINT,
      chunkSize: CHUNK_BYTES,
      retryDelays: RETRY_DELAYS_MS,
      headers: keyHeaders(),
      metadata: { filename: file.name },
      removeFingerprintOnSuccess: true,
      onProgress: (sent, total) => showSent(row, file.name, sent, total),
      onError: (error) => this.#showLost(row, upload, error),
      onSuccess: () => void this.#check(row, idOf(upload.url)),
      onUploadUrlAvailable: () => {
        this.#rows.get(idOf(upload.url))?.remove() // the row of what a reload had cut off
        this.#rows.set(idOf(upload.url), row)
      },
    })
    const [previous] = await upload.findPreviousUploads()
    if (previous) upload.resumeFromPreviousUpload(previous)
    row.actions(...this.#controls(row, upload))
    upload.start()
  }

  #controls(row: Row, upload: tus.Upload): HTMLButtonElement[] {
    let isRunning = true
    const pause = button('Pause', () => {
      isRunning = !isRunning
      pause.textContent = isRunning ? 'Pause' : 'Go on'
      if (isRunning) upload.start()
      else void upload.abort()
    })
    return [
      pause,
      button('Cancel', () => {
        row.remove()
        void upload.abort(true).catch(() => undefined) // what stays on the server there ends by itself
      }),
    ]
  }

  async #check(row: Row, id: string): Promise<void> {
    row.say('The server checks the file…', null)
    row.actions()
    for (;;) {
      const upload = await getJson<UploadView>(`${ENDPOINT}/${id}`).catch(() => null)
      if (upload?.state === 'ready' && upload.slide_id !== null) {
        row.remove()
        this.onSlide(upload.slide_id)
        return
      }
      if (upload?.state === 'rejected') {
        this.#showRejected(row.renamed(upload.filename), upload)
        return
      }
      await new Promise((resolve) => setTimeout(resolve, CHECK_MS))
    }
  }

  #showLost(row: Row, upload: tus.Upload, error: Error): void {
    row.fail(el('p', { className: 'error', textContent: reasonOf(error) }))
    row.actions(
      button('Try again', () => {
        row.actions(...this.#controls(row, upload))
        upload.start()
      }),
      button('Dismiss', () => row.remove()),
    )
  }

  #showCutOff(row: Row, upload: UploadView): void {
    row.renamed(upload.filename)
    row.say(`Cut off at ${bytes(upload.offset)} of ${bytes(upload.length)}. Choose the same file again to go on.`, upload.offset / upload.length)
    row.actions(this.#dismiss(row, upload.id, 'Discard'))
  }

  #showRejected(row: Row, upload: UploadView): void {
    row.renamed(upload.filename)
    row.fail(...rejection(upload.error))
    row.actions(this.#dismiss(row, upload.id, 'Dismiss'))
  }

  #dismiss(row: Row, id: string, text: string): HTMLButtonElement {
    return button(text, () => {
      row.remove()
      void remove(`${ENDPOINT}/${id}`, TUS).catch(() => undefined) // gone already
    })
  }

  #row(id: string): Row {
    const row = new Row(this.#list, '')
    this.#rows.set(id, row)
    return row
  }
}

/** One line of the list. */
class Row {
  readonly #name = el('strong')
  readonly #text = el('div')
  readonly #bar = progressBar(null, '')
  readonly #actions = el('div', { className: 'actions' })
  readonly #item = el('li', {}, this.#name, this.#bar, this.#text, this.#actions)

  constructor(list: HTMLUListElement, name: string) {
    this.renamed(name)
    list.append(this.#item)
  }

  renamed(name: string): this {
    this.#name.textContent = name
    this.#bar.setAttribute('aria-label', `Upload of ${name}`)
    return this
  }

  say(text: string, share: number | null): void {
    this.#text.textContent = text
    this.#bar.hidden = false
    if (share === null) this.#bar.removeAttribute('value')
    else this.#bar.value = share
  }

  fail(...reasons: HTMLElement[]): void {
    this.#text.replaceChildren(...reasons)
    this.#text.setAttribute('role', 'alert')
    this.#bar.hidden = true
  }

  actions(...buttons: HTMLButtonElement[]): void {
    this.#actions.replaceChildren(...buttons)
  }

  remove(): void {
    this.#item.remove()
  }
}

function showSent(row: Row, name: string, sent: number, total: number): void {
  row.renamed(name).say(`${bytes(sent)} of ${bytes(total)}`, total ? sent / total : 0)
}

function idOf(url: string | null): string {
  return url?.split('/').pop() ?? ''
}

/** Return what the server said, or that it said nothing. */
function reasonOf(error: Error): string {
  const body = error instanceof tus.DetailedError ? error.originalResponse?.getBody() : undefined
  try {
    return sentence((JSON.parse(body ?? '') as { error: Parameters<typeof sentence>[0] }).error)
  } catch {
    return 'The line to the server was lost. What has arrived is kept.'
  }
}
