/** Asking for what the server makes with the first question. */

import { send } from './api'
import { pause } from './dom'

const WAIT_MS = 1000

/** Return the answer of a path once it is made; `onWait` is told that it takes a while. */
export async function whenMade(path: string, signal: AbortSignal, onWait: () => void = () => undefined): Promise<Response> {
  for (;;) {
    const answer = await send(path, { signal })
    if (answer.status !== 202) return answer
    await answer.body?.cancel()
    onWait()
    await pause(WAIT_MS)
    signal.throwIfAborted()
  }
}
