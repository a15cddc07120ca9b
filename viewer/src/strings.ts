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
