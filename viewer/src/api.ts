/** Calls of the server. A key, where the server asks for one, lives in this tab only. */

import { askForKey } from './key_dialog'
import { SERVER } from './strings'
import type { ErrorBody } from './types'

/** Where the page lies, with the path below which a proxy may show it; ends with a slash. */
const BASE = new URL('.', document.baseURI)
/** Other servers may lie on the same host, below other paths, and see what this tab keeps. */
const STORED = BASE.pathname === '/' ? 'ldiffusion-key' : `ldiffusion-key ${BASE.pathname}`
/** What a new key is tried on: anything that needs one. */
const TRIED_ON = '/v1/slides?limit=1'
/** What may stand in a header. */
const SENDABLE = /^[\x21-\x7e]+$/

/** Return where to ask for one of the server's own paths, such as `/v1/jobs`: whatever leaves the page goes by here. */
export function addressOf(path: string): string {
  const { pathname, search } = new URL(path.replace(/^\//, ''), BASE)
  return pathname + search
}

/** What the server refused, in its own words. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message)
  }

  /** Whether the same request may be answered in another way a moment later. */
  mayPass(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500
  }
}

/** Return the sentence of an error, with what would have been accepted. */
export function sentence(error: ErrorBody): string {
  return [error.message, error.value && SERVER.given(error.value), error.accepted && SERVER.accepted(error.accepted)]
    .filter(Boolean)
    .join(' ')
}

/** Tells `change` when a key has come that the server takes, and `declined` when one is wanted and was not given. */
export const keyEvents = new EventTarget()

let asking: Promise<boolean> | null = null
/** The key, or the lack of one, that the server refused and the person gave no other for. */
let declined: { key: string | null } | null = null

export function currentKey(): string | null {
  return sessionStorage.getItem(STORED)
}

/** Whether the server wants a key that it was not given. */
export function isKeyWanted(): boolean {
  return declined !== null
}

export function forgetKey(): void {
  sessionStorage.removeItem(STORED)
}

/** Return the headers that carry the key, if there is one. */
export function keyHeaders(): Record<string, string> {
  const key = currentKey()
  return key === null ? {} : { 'X-API-Key': key }
}

/** Ask for a key, once for all that wait for it; false if the person gave none. */
export function enterKey(): Promise<boolean> {
  asking ??= newKey().finally(() => {
    asking = null
  })
  return asking
}

/** Return whether there is another key than `used`, which the server refused. A person who gave none is not asked again. */
export async function hasOtherKey(used: string | null): Promise<boolean> {
  if (currentKey() !== used) return true
  return declined?.key !== used && (await enterKey())
}

async function newKey(): Promise<boolean> {
  const before = currentKey()
  for (let isWrong = before !== null; ; isWrong = true) {
    const key = await askForKey(isWrong)
    if (key !== null && !(await isTaken(key))) continue
    declined = key === null ? { key: before } : null
    if (key !== null) sessionStorage.setItem(STORED, key)
    keyEvents.dispatchEvent(new Event(key === null ? 'declined' : 'change'))
    return key !== null
  }
}

async function isTaken(key: string): Promise<boolean> {
  if (!SENDABLE.test(key)) return false
  const answer = await fetch(addressOf(TRIED_ON), { headers: { 'X-API-Key': key } }).catch(() => null)
  return answer?.status !== 401 // no answer is not the key's fault
}

/** Send a request with the key; asks for one when the server wants one. Any answer but a refusal comes back. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const used = currentKey()
    let answer: Response
    try {
      answer = await fetch(addressOf(path), { ...init, headers: { ...init.headers, ...keyHeaders() } })
    } catch (error) {
      if (init.signal?.aborted) throw error
      throw new Refused(0, 'unreachable', SERVER.silent)
    }
    if (answer.ok) return answer
    if (answer.status !== 401 || !(await hasOtherKey(used))) throw await refusalOf(answer)
  }
}

export async function getJson<T>(path: string): Promise<T> {
  return (await (await send(path)).json()) as T
}

/** Fetch what may not be there; null if it is not. */
export async function findJson<T>(path: string): Promise<T | null> {
  try {
    return await getJson<T>(path)
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null
    throw error
  }
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
    return new Refused(answer.status, 'unknown', SERVER.answered(answer.status))
  }
}
