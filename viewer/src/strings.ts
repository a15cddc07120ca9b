/** What the page says, in one place. */

export const WHERE = {
  all: 'All of the slide.',
  region: (area: string) => `A region of ${area}, in the dashed frame.`,
  nothing: 'That lies beside the slide. Draw it on the slide.',
  rectangle: 'Drag a rectangle over the slide. Escape gives up.',
  polygon: 'Click the corners; the first one again, a double click or Enter closes it. Backspace takes one back, Escape gives up.',
  freehand: 'Draw around it with the button held. Escape gives up.',
}

export const JOB = {
  parameters: 'Parameters',
  wholeSlide: 'whole slide',
  region: (area: string) => `region of ${area}`,
  number: 'Job',
  model: 'Model',
  mpp: 'µm per pixel',
  mppGiven: (mpp: string) => `${mpp}, given for this job`,
  mppOfSlide: (mpp: string) => `${mpp}, of the slide`,
  where: 'Where',
  seed: 'Seed',
  glass: 'Glass',
  glassSkipped: 'skipped',
  glassKept: 'segmented too',
  damaged: 'Damaged parts',
  submitted: 'Started',
  took: 'Took',
  warnings: 'Warnings',
  none: 'none',
  onBadTile: { fail: 'end the job', mask: 'left out, pixel by pixel', skip: 'left out, tile by tile' },
  again: 'Take its region again',
}

export const VIEW = {
  noMagnification: 'Not known before µm per pixel are.',
  turned: (degrees: number, isMirrored: boolean) =>
    [degrees % 360 !== 0 ? `turned ${((degrees % 360) + 360) % 360}°` : '', isMirrored ? 'mirrored' : ''].filter(Boolean).join(', '),
  howTo: {
    ruler: 'Drag from one place to another. Escape ends it.',
    area: 'Click the corners, and the first one again. Escape ends it.',
  },
}

export const PIXEL = {
  example: 'for example 0.5',
  ofFile: 'From the file. A number here counts for the next job, or for the slide if it is kept.',
  unknown: 'The file does not say it. 0.25 is usual for 40×, 0.5 for 20×. Kept, it gives the slide its scale.',
  odd: ([x, y]: [number, number]) => `The file says ${x} × ${y}, which no scanner makes. Keep the right number on the slide.`,
  kept: (own: number | null) => `Kept by a person. The file says ${own === null ? 'nothing' : String(Number(own.toPrecision(5)))}.`,
}

export const CARD = {
  title: 'For',
  mpp: 'µm per pixel',
  native: (mpp: number, coarsest: number) => `${mpp}; slides of up to ${coarsest}`,
  kind: 'Trained on',
  classes: 'Classes',
  smallest: 'Smallest object',
  limits: 'Limits',
  license: 'Licence',
  weights: 'Version',
  figures: 'Measured on images that it was not trained on; in brackets 95 %',
  noFigures: 'Nothing was measured of this model.',
  columns: ['Images', 'Figure', 'Value'],
  metrics: { pq: 'Panoptic quality', f1: 'F1 of objects', count_error: 'Error of counts', ece: 'Calibration error' },
  otherKind: (slide: string, model: string) => `The slide is ${slide}, the model was trained on ${model}.`,
  tooCoarse: (mpp: number, coarsest: number) => `The slide has ${Number(mpp.toPrecision(4))} µm per pixel, the model takes at most ${coarsest}.`,
  none: 'The server has no model installed.',
  line: (title: string, mpp: number) => `${title}. Works at ${mpp} µm per pixel.`,
  unsuited: 'does not suit this slide',
}

export const QUEUE = {
  queued: 'Queued',
  place: (place: number) => (place === 1 ? 'next in line' : `place ${place} in line`),
  starts: (time: string) => `starts in about ${time}`,
  takes: (time: string) => `then takes up to ${time}`,
}

export const LEGEND = {
  colour: (name: string) => `Colour of ${name}`,
  usual: 'Usual colours',
  models: 'Colours of the model',
}

export const LIST = {
  none: 'There are no slides on the server yet.',
  noneFits: 'No slide fits.',
  count: (shown: number, all: number) => (shown === all ? `${all} slides` : `${shown} of ${all} slides`),
  pick: (name: string) => `Choose ${name} with others`,
  picked: (count: number) => `${count} chosen`,
  remove: (name: string) => `Delete ${name} from the server?`,
  removeAll: (count: number) => `Delete ${count} slides with their results from the server?`,
  batch: (made: number) => (made === 1 ? '1 job waits for its turn.' : `${made} jobs wait for their turn.`),
  refused: (name: string, why: string) => `${name}: ${why}`,
  any: 'All states',
  orders: { newest: 'Newest first', oldest: 'Oldest first', name: 'By name', size: 'Largest first' },
  filters: { running: 'Running', done: 'Done', warning: 'With warnings', failed: 'Failed', none: 'Without jobs' },
  badges: { running: 'running', done: 'done', warning: 'warning', failed: 'failed' },
}
