/** Results as downloads. With a key, each goes by a signed link: a browser sends no key with a download. */

import { addressOf, currentKey, postJson, send } from './api'
import { button, el, pause } from './dom'
import { report } from './notices'
import type { JobView, SlideInfo } from './types'

const WAIT_MS = 2000
const LIFE_S = 600
const REVOKE_MS = 60_000

/** What each result is good for; results that are not listed go under their own name. */
const TITLES: Record<string, string> = {
  'overlay.ome.tif': 'Overlay (OME-TIFF)',
  'labels.ome.tif': 'Labels (OME-TIFF)',
  'objects.parquet': 'Objects (GeoParquet)',
  'regions.geojson.gz': 'Polygons (GeoJSON)',
  'statistics.csv': 'Areas (CSV)',
  'preview.png': 'Preview (PNG)',
  'quality.geojson.gz': 'Ink, folds, blur (GeoJSON)',
  result: 'Record (JSON)',
}
const MADE: Record<string, string> = {
  'confidence.ome.tif': 'Confidence (OME-TIFF)',
  'features.fgb': 'Polygons (FlatGeobuf)',
}
/** What only a slide that came as DICOM has. */
const MADE_OF_DICOM: Record<string, string> = {
  'segmentation.dcm': 'Segmentation (DICOM)',
  'annotations.dcm': 'Annotations (DICOM)',
}

const QUPATH = 'open-in-qupath.groovy'

/** Return what can be downloaded of a succeeded job: a script for QuPath, and a list of files. */
export function downloadsOf(job: JobView, slide: SlideInfo): HTMLElement[] {
  const list = el('details', {}, el('summary', { textContent: 'Download' }), downloadList(job, slide))
  if (!('regions.geojson.gz' in job.results)) return [list]
  const script = button('Open in QuPath', () => void saveScript(job).catch(report))
  const hint = el('p', { className: 'hint', id: 'qupath-hint', textContent: 'A script: run it in QuPath with this slide open.' })
  script.setAttribute('aria-describedby', hint.id)
  return [script, hint, list]
}

function downloadList(job: JobView, slide: SlideInfo): HTMLUListElement {
  const ready = Object.entries(TITLES).filter(([name]) => name in job.results)
  const made = Object.entries(slide.vendor === 'dicom' ? { ...MADE, ...MADE_OF_DICOM } : MADE)
  const items = [...ready, ...made].map(([name, title]) => el('li', {}, download(job, name, title)))
  return el('ul', { className: 'downloads' }, ...items)
}

function download(job: JobView, name: string, title: string): HTMLButtonElement {
  const path = `/v1/jobs/${job.id}/${name}`
  const item = button(title, () => void start(item, path, name))
  return item
}

/** Fetched with the key: the script holds a link of its own, which would else last no longer than that of a download. */
async function saveScript(job: JobView): Promise<void> {
  const text = await (await send(`/v1/jobs/${job.id}/${QUPATH}`)).blob()
  const href = URL.createObjectURL(text)
  el('a', { href, download: QUPATH }).click()
  setTimeout(() => URL.revokeObjectURL(href), REVOKE_MS) // not before the browser has read it
}

async function start(item: HTMLButtonElement, path: string, name: string): Promise<void> {
  const title = item.textContent
  item.disabled = true
  try {
    await untilMade(path, () => {
      item.textContent = `${title}: being made…`
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
