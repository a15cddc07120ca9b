/** What went wrong, in words for who uses the page, and what to do. The server's own sentence stays at hand. */

import { sentence } from './api'
import { el } from './dom'
import type { ErrorBody } from './types'

/** Why a file did not become a slide. */
const REJECTED: Record<string, string> = {
  slide_unreadable: 'no reader of slides understands this file. It may be damaged or cut short, or be something else.',
  slide_too_large: 'the picture in it is larger than this server takes.',
  upload_too_large: 'the file is larger than this server takes.',
  upload_empty: 'the file is empty.',
  archive_refused: 'the archive is not packed as this server takes it. Pack the slide anew, with nothing else in it.',
  slide_set_incomplete: 'the slide has more files than came. Pack all of them into one zip, and upload that.',
  deidentify_refused: 'this server takes slides without names only, and cannot remove them from this format.',
  checksum_mismatch: 'it did not arrive as it was sent. Upload it again.',
  disk_full: 'the disk of the server is full. Ask who runs it.',
  import_refused: 'the server does not fetch from there, or did not find there what it takes. Check the address.',
}

/** Why a job failed. */
const FAILED: Record<string, string> = {
  slide_read_timeout: 'reading a part of the slide took too long. Start again; if it happens again, the file may be damaged.',
  slide_reader_failed: 'a part of the slide cannot be read. Start again with “Leave out damaged parts”.',
  job_too_large: 'it needs more memory than the workers have. Segment a part of the slide, or ask who runs the server.',
  out_of_memory: 'the workers had too little memory for it. Segment a part of the slide, or ask who runs the server.',
  slide_unreadable: 'a part of the slide cannot be read. Start again with “Leave out damaged parts”.',
  mpp_missing: 'the slide does not say how large its pixels are. Fill in “µm per pixel” and start again.',
  mpp_out_of_range: 'the size of the slide’s pixels does not suit this model. Check “µm per pixel”, or choose another model.',
  model_invalid: 'the model on the server is not whole, or was changed meanwhile. Start again, or ask who runs the server.',
  model_not_found: 'the model is not on the server any more. Choose another one.',
  slide_not_found: 'the slide was deleted meanwhile.',
  disk_full: 'the disk of the server is full. Ask who runs it.',
  storage_fault: 'the disk of the server does not work. Ask who runs it.',
  job_lost: 'a part of it was begun again and again and never came to its end. Start again, or ask who runs the server.',
}

/** What the server calls the file of a slide. */
const STORED_NAME = /^original[-.\w]*$/

/** Say why the file that people call `name` did not become a slide. */
export function rejection(error: ErrorBody | null, name: string): HTMLElement[] {
  return explained('Not taken as a slide', error, REJECTED, name)
}

/** Say why a job on the slide that people call `name` failed. */
export function failure(error: ErrorBody | null, name: string): HTMLElement[] {
  return explained('Failed', error, FAILED, name)
}

function explained(what: string, told: ErrorBody | null, words: Record<string, string>, name: string): HTMLElement[] {
  if (told === null) return [el('p', { className: 'error', textContent: `${what}.` })]
  const error = STORED_NAME.test(told.value ?? '') ? { ...told, value: name } : told
  const plain = words[error.code]
  const text = el('p', { className: 'error', textContent: `${what}: ${plain ?? sentence(error)}` })
  if (plain === undefined) return [text]
  const more = el('summary', { textContent: 'What the server says' })
  return [text, el('details', {}, more, el('p', { className: 'hint', textContent: `${sentence(error)} (${error.code})` }))]
}
