/** A file on its way by tus: every request carries the key of that moment, and a new key is asked for where it is refused. */

import * as tus from 'tus-js-client'
import { addressOf, currentKey, hasOtherKey, keyHeaders, sentence } from './api'
import { UPLOAD } from './strings'

export const ENDPOINT = '/v1/uploads'
const CHUNK_BYTES = 32 * 1024 * 1024
const RETRY_DELAYS_MS = [0, 1000, 3000, 5000, 10_000, 20_000]
const UNAUTHORIZED = 401
/** Answers of 400 to 499 that may be others a moment later: another request has the upload, or too many came. */
const PASSING = [409, 423, 429]

type Told = Pick<tus.UploadOptions, 'onProgress' | 'onError' | 'onSuccess' | 'onUploadUrlAvailable'>

/** Thrown into an upload whose key was refused. Were the answer left to tus, it would begin the file anew. */
class KeyRefused extends Error {
  constructor(readonly hasOther: boolean) {
    super(UPLOAD.key)
  }
}

/** Return the upload of a file, not started; it goes on where an earlier one of the same file was cut off. */
export async function uploadOf(file: File, told: Told): Promise<tus.Upload> {
  let used: string | null = null
  const upload = new tus.Upload(file, {
    ...told,
    endpoint: addressOf(ENDPOINT),
    chunkSize: CHUNK_BYTES,
    retryDelays: RETRY_DELAYS_MS,
    metadata: { filename: file.name },
    removeFingerprintOnSuccess: true,
    onBeforeRequest: (request) => {
      used = currentKey()
      for (const [name, value] of Object.entries(keyHeaders())) request.setHeader(name, value)
    },
    onAfterResponse: async (_request, response) => {
      if (response.getStatus() === UNAUTHORIZED) throw new KeyRefused(await hasOtherKey(used))
    },
    onShouldRetry: mayPass,
  })
  const [previous] = await upload.findPreviousUploads()
  if (previous) upload.resumeFromPreviousUpload(previous)
  return upload
}

/** Whether an upload ended for want of a key. */
export function isForWantOfAKey(error: Error): boolean {
  return error instanceof tus.DetailedError && error.causingError instanceof KeyRefused
}

/** Return why an upload ended: what the server said, or that it said nothing. */
export function reasonOf(error: Error): string {
  if (isForWantOfAKey(error)) return UPLOAD.keyKept
  if (!(error instanceof tus.DetailedError)) return UPLOAD.unreadable
  try {
    const body = error.originalResponse?.getBody() ?? ''
    return sentence((JSON.parse(body) as { error: Parameters<typeof sentence>[0] }).error)
  } catch {
    return UPLOAD.lost
  }
}

function mayPass(error: tus.DetailedError): boolean {
  if (error.causingError instanceof KeyRefused) return error.causingError.hasOther
  const status = error.originalResponse?.getStatus() ?? 0
  return (status < 400 || status >= 500 || PASSING.includes(status)) && navigator.onLine
}
