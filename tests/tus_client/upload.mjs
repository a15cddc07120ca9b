// Uploads a file with tus-js-client, in a way that the first argument names, and says what happened as JSON on stdout.
//
//   node upload.mjs <way> <endpoint> <file> <folder for the client's memory> [address of an upload]
//
// Some ways wait for the test in the middle: they write a file `reached` into the folder and go on when there is `go`.

import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import tus from 'tus-js-client'

const [, , way, endpoint, path, memory, address] = process.argv
const content = readFileSync(path)
const CHUNK = 700_001
const said = { way, requests: [], urls: [] }

const common = {
  endpoint,
  chunkSize: CHUNK,
  retryDelays: [0, 500, 1000, 3000, 5000],
  metadata: { filename: basename(path), sha256: createHash('sha256').update(content).digest('hex') },
  urlStorage: new tus.FileUrlStorage(join(memory, 'urls.json')),
  onAfterResponse: (request, response) => {
    said.requests.push(`${request.getMethod()} ${response.getStatus()}`)
  },
}

/** Run an upload to its end, or until `stopAt` bytes were acknowledged. */
function run(source, options, stopAt = Infinity) {
  return new Promise((resolve, reject) => {
    let paused = false
    const upload = new tus.Upload(source, {
      ...common,
      ...options,
      onError: reject,
      onSuccess: () => resolve(upload),
      onChunkComplete: async (_size, accepted) => {
        if (accepted < stopAt || paused) return
        paused = true
        await upload.abort()
        resolve(upload)
      },
    })
    upload.findPreviousUploads().then((previous) => {
      said.found = previous.length
      if (previous.length > 0) upload.resumeFromPreviousUpload(previous[0])
      upload.start()
    })
  })
}

/** Tell the test how far it came, and wait until the test lets it go on. */
async function reach() {
  writeFileSync(join(memory, 'reached'), '')
  while (!existsSync(join(memory, 'go'))) await sleep(20)
}

/** Reads chunks as streams; the second one stops in its middle until the test lets it go on. */
const haltingReader = {
  async openFile() {
    async function* pieces(start, end) {
      const half = (start + end) >> 1
      yield content.subarray(start, half)
      if (start > 0) await reach()
      yield content.subarray(half, end)
    }
    const slice = async (start, end) => ({
      value: Object.assign(Readable.from(pieces(start, end)), { size: end - start }),
      done: end >= content.length,
    })
    return { size: content.length, slice, close() {} }
  },
}

/** Give every chunk its checksum: the client itself has no such option, but its hook sees each request. */
function withChecksum(request) {
  if (request.getMethod() !== 'PATCH') return
  const offset = Number(request.getHeader('Upload-Offset'))
  const chunk = content.subarray(offset, offset + CHUNK)
  request.setHeader('Upload-Checksum', `sha256 ${createHash('sha256').update(chunk).digest('base64')}`)
  said.checksums = (said.checksums ?? 0) + 1
}

const ways = {
  // A stream from the disk, so that the client recognises the file again by its path.
  async pause() {
    const first = await run(createReadStream(path), {}, 2 * CHUNK)
    const second = await run(createReadStream(path), {})
    said.urls = [first.url, second.url]
  },
  async parallel() {
    said.urls = [(await run(content, { parallelUploads: 3 })).url]
  },
  async checksum() {
    said.urls = [(await run(content, { onBeforeRequest: withChecksum })).url]
  },
  // The gateway dies in the middle of a chunk and comes back; the client finds its way by itself.
  async killed() {
    said.urls = [(await run(content, { fileReader: haltingReader, chunkSize: 3_000_000 })).url]
  },
  // Somebody else is adding to the upload at `address`, until the client was told so.
  async locked() {
    const told = (request, response) => {
      common.onAfterResponse(request, response)
      if (response.getStatus() === 423) writeFileSync(join(memory, 'reached'), '')
    }
    said.urls = [(await run(content, { uploadUrl: address, endpoint: null, onAfterResponse: told })).url]
  },
  // The upload expires while the client is away: it says so, and where it may begin anew it does.
  async expired() {
    const first = await run(createReadStream(path), {}, 2 * CHUNK)
    await reach()
    said.error = await run(content, { uploadUrl: first.url, endpoint: null }).then(() => null, String)
    said.urls = [first.url, (await run(createReadStream(path), {})).url]
  },
  // More than the server takes: said before a byte, and not tried again.
  async large() {
    said.error = await run(createReadStream(path), { uploadSize: 2 ** 50 }).then(() => null, String)
    said.after = said.requests.length
    said.urls = [(await run(createReadStream(path), {})).url]
  },
  // One chunk arrives altered: nothing of it is kept, and the client sends it again when it is told to.
  async altered() {
    let wrong = true
    const onBeforeRequest = (request) => {
      withChecksum(request)
      if (request.getHeader('Upload-Offset') !== `${CHUNK}` || !wrong) return
      wrong = false
      request.setHeader('Upload-Checksum', `sha256 ${createHash('sha256').update('other').digest('base64')}`)
    }
    const onShouldRetry = (error) => {
      said.error = String(error)
      return error.originalResponse?.getStatus() === 460
    }
    said.urls = [(await run(content, { onBeforeRequest, onShouldRetry })).url]
  },
  async refused() {
    said.error = await run(content, { metadata: { filename: 'a.vms' } }).then(() => null, String)
  },
}

await ways[way]()
console.log(JSON.stringify(said))
