/** Calls of the server. A key, where the server asks for one, lives in this tab only. */

import { askForKey } from './key_dialog'
import type { ErrorBody } from './types'

const STORED = 'ldiffusion-key'

/** What the server refused, in its own words. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message)
  }
}

/** Return the sentence of an error, with what would have been accepted. */
export function sentence(error: ErrorBody): string {
  return [error.message, error.value && `Given: ${error.value}.`, error.accepted && `Accepted: ${error.accepted}.`]
    .filter(Boolean)
    .join(' ')
}

export function hasKey(): boolean {
  return sessionStorage.getItem(STORED) !== null
}

export function forgetKey(): void {
  sessionStorage.removeItem(STORED)
}

/** Return the headers that carry the key, if there is one. */
export function keyHeaders(): Record<string, string> {
  const key = sessionStorage.getItem(STORED)
  return key === null ? {} : { 'X-API-Key': key }
}

let asking: Promise<boolean> | null = null

/** Ask for a key, once for all requests that wait for it; false if the person gave none. */
async function renewKey(): Promise<boolean> {
  asking ??= askForKey(hasKey())
    .then((key) => {
      if (key !== null) sessionStorage.setItem(STORED, key)
      return key !== null
    })
    .finally(() => {
      asking = null
    })
  return asking
}

/** Send a request with the key; asks for one when the server wants one. Any answer but a refusal comes back. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const used = sessionStorage.getItem(STORED)
    let answer: Response
    try {
      answer = await fetch(path, { ...init, headers: { ...init.headers, ...keyHeaders() } })
    } catch (error) {
      if (init.signal?.aborted) throw error
      throw new Refused(0, 'unreachable', 'The server does not answer.')
    }
    if (answer.ok) return answer
    const isRenewed = answer.status === 401 && (used !== sessionStorage.getItem(STORED) || (await renewKey()))
    if (!isRenewed) throw await refusalOf(answer)
  }
}

export async function getJson<T>(path: string): Promise<T> {
  return (await (await send(path)).json()) as T
}

export async function postJson<T>(path: string, body: unknown): Promise<T> {
  const headers = { 'Content-Type': 'application/json' }
  return (await (await send(path, { method: 'POST', headers, body: JSON.stringify(body) })).json()) as T
}

export async function remove(path: string, headers: Record<string, string> = {}): Promise<void> {
  await send(path, { method: 'DELETE', headers })
}

async function refusalOf(answer: Response): Promise<Refused> {
  try {
    const { error } = (await answer.json()) as { error: ErrorBody }
    return new Refused(answer.status, error.code, sentence(error))
  } catch {
    return new Refused(answer.status, 'unknown', `The server answered ${answer.status}.`)
  }
}
