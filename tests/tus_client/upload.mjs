// Uploads a file with tus-js-client, in a way that the first argument names, and says what happened as JSON on stdout.
//
//   node upload.mjs pause|parallel|checksum|refused <endpoint> <file> <folder for the client's memory>

import { createHash } from 'node:crypto'
import { readFileSync, createReadStream } from 'node:fs'
import { basename, join } from 'node:path'
import tus from 'tus-js-client'

const [, , way, endpoint, path, memory] = process.argv
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
  async refused() {
    said.error = await run(content, { metadata: { filename: 'a.exe' } }).then(() => null, String)
  },
}

await ways[way]()
console.log(JSON.stringify(said))
