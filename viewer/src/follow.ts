/** Follows a job by its events. `EventSource` cannot send a key, so the stream is read here, with or without one. */

import { getJson, Refused, send } from './api'
import { pause } from './dom'
import { JOB } from './strings'
import { isFinal, type JobView } from './types'

const PAUSE_MS = 3000

interface Event {
  id: string | null
  data: string
}

/**
 * Tell where a job stands until it ends, or until `signal` says to stop. A lost line is taken up again.
 *
 * Throws `Refused` if the job is gone, or may not be seen any more.
 */
export async function followJob(job: JobView, onChange: (job: JobView) => void, signal: AbortSignal): Promise<void> {
  let current = job
  let last: string | null = null
  while (!isFinal(current.state) && !signal.aborted) {
    try {
      const headers: Record<string, string> = last === null ? {} : { 'Last-Event-ID': last }
      const answer = await send(`/v1/jobs/${job.id}/events`, { headers, signal })
      for await (const event of eventsOf(answer)) {
        last = event.id ?? last
        // Every event says all; the last one is the whole job, with its results.
        current = { ...current, ...stateOf(event) }
        onChange(current)
      }
    } catch (error) {
      if (signal.aborted) return
      if (isRefusal(error)) throw error
    }
    if (isFinal(current.state)) return
    await pause(PAUSE_MS)
    if (signal.aborted) return
    current = await getJson<JobView>(`/v1/jobs/${job.id}`).catch((error: unknown) => {
      if (isRefusal(error)) throw error
      return current
    })
    if (!signal.aborted) onChange(current)
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof Refused && !error.mayPass()
}

function stateOf(event: Event): Partial<JobView> {
  const told = JSON.parse(event.data) as Partial<JobView> | { state: 'deleted' }
  if (told.state === 'deleted') throw new Refused(404, 'job_not_found', JOB.deleted)
  return told
}

/** Read Server-Sent Events as they come. */
async function* eventsOf(answer: Response): AsyncGenerator<Event> {
  if (answer.body === null) return
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      text += value
      const blocks = text.split('\n\n')
      text = blocks.pop() ?? ''
      for (const block of blocks) {
        const event = parse(block)
        if (event !== null) yield event
      }
    }
  } finally {
    await reader.cancel()
  }
}

/** Return the event of a block of lines; null for a comment or a setting. */
function parse(block: string): Event | null {
  const fields = new Map(block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]))
  const data = fields.get('data')
  return data === undefined ? null : { id: fields.get('id') ?? null, data }
}
