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
