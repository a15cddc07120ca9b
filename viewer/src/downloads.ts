/** Results as downloads. With a key, each goes by a signed link: a browser sends no key with a download. */

import { addressOf, currentKey, postJson, send } from './api'
import { button, el, pause } from './dom'
import { report } from './notices'
import { DOWNLOADS, FILES, MADE, MADE_OF_DICOM } from './strings'
import type { JobView, SlideInfo } from './types'

const WAIT_MS = 2000
const LIFE_S = 600
const REVOKE_MS = 60_000

const QUPATH = 'open-in-qupath.groovy'

/** Return what can be downloaded of a succeeded job: a script for QuPath, and a list of files. */
export function downloadsOf(job: JobView, slide: SlideInfo): HTMLElement[] {
  const list = el('details', {}, el('summary', { textContent: DOWNLOADS.title }), downloadList(job, slide))
  if (!('regions.geojson.gz' in job.results)) return [list]
  const script = button(DOWNLOADS.qupath, () => void saveScript(job).catch(report))
  const hint = el('p', { className: 'hint', id: 'qupath-hint', textContent: DOWNLOADS.qupathHint })
  script.setAttribute('aria-describedby', hint.id)
  return [script, hint, list]
}

function downloadList(job: JobView, slide: SlideInfo): HTMLUListElement {
  const ready = Object.entries(FILES).filter(([name]) => name in job.results)
  const made = Object.entries(slide.vendor === 'dicom' ? { ...MADE, ...MADE_OF_DICOM } : MADE)
  const items = [...ready, ...made].map(([name, title]) => el('li', {}, download(job, name, title)))
  return el('ul', { className: 'downloads' }, ...items)
}

function download(job: JobView, name: string, title: string): HTMLButtonElement {
  const path = `/v1/jobs/${job.id}/${name}`
  const item = button(title, () => void fetchResult(item, path, name))
  return item
}

/** Fetched with the key: the script holds a link of its own, which would else last no longer than that of a download. */
async function saveScript(job: JobView): Promise<void> {
  const text = await (await send(`/v1/jobs/${job.id}/${QUPATH}`)).blob()
  const href = URL.createObjectURL(text)
  el('a', { href, download: QUPATH }).click()
  setTimeout(() => URL.revokeObjectURL(href), REVOKE_MS) // not before the browser has read it
}

/** Fetch a result for the button that was clicked, which says meanwhile that it is being made. */
export async function fetchResult(item: HTMLButtonElement, path: string, name: string): Promise<void> {
  const title = item.textContent
  item.disabled = true
  try {
    await untilMade(path, () => {
      item.textContent = DOWNLOADS.making(title ?? '')
    })
    const signed = currentKey() !== null ? `?${(await postJson<{ query: string }>('/v1/links', { path, life_s: LIFE_S })).query}` : ''
    const href = addressOf(path) + signed
    el('a', { href, download: name }).click()
  } catch (error) {
    report(error)
  } finally {
    item.textContent = title
    item.disabled = false
  }
}

/** Wait for a result that is made when it is first asked for. */
async function untilMade(path: string, onWait: () => void): Promise<void> {
  for (;;) {
    const answer = await send(path, { headers: { Range: 'bytes=0-0' } })
    await answer.body?.cancel()
    if (answer.status !== 202) return
    onWait()
    await pause(WAIT_MS)
  }
}
