/** How the jobs of all slides stand, for the badges in the list. */

import { getJson } from './api'
import { pause } from './dom'
import { isFinal, type JobState, type JobView, type Page } from './types'

export const BADGES = ['running', 'done', 'warning', 'failed'] as const
export type Badge = (typeof BADGES)[number]

const ASK_MS = 10_000
const PAGE = 1000
const UNFINISHED: JobState[] = ['queued', 'planning', 'running', 'finishing']

export class Standing {
  #badges = new Map<string, Set<Badge>>()
  #unfinished = ''
  #turn = 0

  /** `onChange` is told that badges may be others. */
  constructor(private readonly onChange: () => void) {}

  of(slideId: string): ReadonlySet<Badge> {
    return this.#badges.get(slideId) ?? new Set()
  }

  /** Ask anew, and go on as long as a job has not ended. A server that cannot tell is asked with the next list. */
  async refresh(): Promise<void> {
    const turn = ++this.#turn
    try {
      await this.#read()
      while (turn === this.#turn && this.#unfinished !== '') {
        await pause(ASK_MS)
        if (turn !== this.#turn || document.hidden) continue
        if (idsOf(await jobs(UNFINISHED)) !== this.#unfinished) await this.#read()
      }
    } catch {
      // badges are no reason to bother anyone
    }
  }

  async #read(): Promise<void> {
    const items = await jobs([])
    const badges = new Map<string, Set<Badge>>()
    for (const job of items) {
      const here = badges.get(job.request.slide_id) ?? new Set()
      for (const badge of badgesOf(job)) here.add(badge)
      badges.set(job.request.slide_id, here)
    }
    this.#badges = badges
    this.#unfinished = idsOf(items.filter(({ state }) => !isFinal(state)))
    this.onChange()
  }
}

function badgesOf({ state, warnings }: JobView): Badge[] {
  if (!isFinal(state)) return ['running']
  if (state === 'failed') return ['failed']
  if (state === 'canceled') return []
  return warnings.length > 0 ? ['done', 'warning'] : ['done']
}

async function jobs(states: JobState[]): Promise<JobView[]> {
  const query = new URLSearchParams([['limit', String(PAGE)], ...states.map((state) => ['state', state])])
  return (await getJson<Page<JobView>>(`/v1/jobs?${query}`)).items
}

function idsOf(items: JobView[]): string {
  return items.map(({ id }) => id).join()
}
