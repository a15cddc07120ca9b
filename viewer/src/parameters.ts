/** What was asked of a job, so that two of them can be told apart. */

import { el } from './dom'
import { areaOf, duration, moment } from './measure'
import { type Mpp, regionArea } from './shapes'
import { JOB } from './strings'
import type { JobView, SlideInfo } from './types'

/** Return µm per level-0 px as a job took them: what was given for it, or else what the slide said at that time. */
export function mppOf(job: JobView, slide: SlideInfo): Mpp {
  const given = job.request.mpp
  const file = slide.file_mpp
  const isEarlier = file !== null && Date.parse(job.created_at) < Date.parse(file.replaced_at)
  const { mpp_x: x, mpp_y: y } = isEarlier ? file : slide.geometry
  if (given !== null) return [given, given]
  return x === null || y === null ? null : [x, y]
}

/** Return the line that tells one job from another at a glance. */
export function inShort(job: JobView, slide: SlideInfo): string {
  const mpp = mppOf(job, slide)
  const { roi, seed } = job.request
  const where = roi === null ? JOB.wholeSlide : JOB.region(areaOf(regionArea(roi), mpp))
  return [mpp && `${short(mpp[0])} µm/px`, where, seed !== 0 && `seed ${seed}`].filter(Boolean).join(' · ')
}

/** Return all parameters as a list of terms. */
export function inFull(job: JobView, slide: SlideInfo): HTMLDListElement {
  const { request } = job
  const mpp = mppOf(job, slide)
  const said = mpp === null ? '–' : request.mpp === null ? JOB.mppOfSlide(short(mpp[0])) : JOB.mppGiven(short(mpp[0]))
  const rows: [string, string][] = [
    [JOB.model, request.model],
    [JOB.mpp, said],
    [JOB.where, request.roi === null ? JOB.wholeSlide : JOB.region(areaOf(regionArea(request.roi), mpp))],
    [JOB.seed, String(request.seed)],
    [JOB.glass, request.tissue ? JOB.glassSkipped : JOB.glassKept],
    [JOB.damaged, JOB.onBadTile[request.on_bad_tile]],
    [JOB.submitted, moment(job.created_at)],
    ...(job.started_at && job.finished_at ? [[JOB.took, duration(seconds(job.started_at, job.finished_at))] as [string, string]] : []),
    [JOB.warnings, job.warnings.map(({ message }) => message).join(' ') || JOB.none],
    [JOB.number, job.id],
  ]
  return el('dl', {}, ...rows.flatMap(([term, value]) => [el('dt', { textContent: term }), el('dd', { textContent: value })]))
}

function short(mpp: number): string {
  return String(Number(mpp.toPrecision(4)))
}

function seconds(from: string, to: string): number {
  return (Date.parse(to) - Date.parse(from)) / 1000
}
