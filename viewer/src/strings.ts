/** What the page says, in one place; beside it are the labels of `index.html`, and why things fail in `error_messages.ts`. */

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
  planning: 'Looks for tissue',
  running: 'Segments',
  finishing: 'Writes results',
  succeeded: 'Finished',
  failed: 'Failed',
  canceled: 'Canceled',
  progress: 'Progress of the job',
  writes: (output: string) => `Writes ${output}`,
  regions: (done: number, total: number) => `${done} of ${total} regions`,
  count: (warnings: number) => `${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`,
  left: (time: string) => `about ${time} left`,
  cancel: 'Cancel',
  cancelOf: (moment: string) => `Cancel job of ${moment}`,
  deleteOf: (moment: string) => `Delete job of ${moment}`,
  deleted: 'The job was deleted.',
  gone: 'The job that the link names is not on the server any more. Choose another one, or start one.',
  confirm: 'Delete this job and its results from the server?',
}

export const VIEW = {
  keys: 'Slide. Arrow keys move, plus and minus zoom, r turns, f mirrors, 0 shows all of it, n and p go from object to object, w and W from warning to warning.',
  pointer: 'Pointer',
  centre: 'Centre',
  slide: 'this slide',
  overlay: 'the overlay',
  missing: (what: string) => `Parts of ${what} cannot be shown: the server could not read them, or did not answer.`,
  noTiles: 'The picture cannot be shown: the server does not give its tiles.',
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

export const REVIEW = {
  howTo: 'Click an object on the slide.',
  nothing: 'There is no object at this place.',
  making: 'The index of the objects is being made…',
  draw: 'Draw it on the slide. Escape gives up.',
  empty: 'That encloses nothing of the slide.',
  back: 'Taken back.',
  object: (name: string, size: string) => `${name}, ${size}`,
  corrected: (name: string, size: string, state: string, who: string, when: string) => `${name}, ${size}: ${state} by ${who}, ${when}`,
  said: (state: string, name: string) => `${name}: ${state}.`,
  shapes: { freehand: 'Freehand', polygon: 'Polygon', rectangle: 'Rectangle' },
  columns: ['', 'Objects', 'Area', 'Per mm²'],
  without: 'As found',
  with: 'Corrected',
}

export const COHORT = {
  open: 'Table',
  openOf: (moment: string) => `Table of the batch of ${moment}`,
  title: (slides: number, moment: string) => `${slides} slides, ${moment}`,
  slide: 'Slide',
  state: 'State',
  tissue: 'Tissue mm²',
  mm2: 'mm²',
  share: 'Of tissue',
  count: 'Objects',
  density: 'Per mm²',
  warnings: 'Warnings',
  densityOf: (name: string) => `Objects of ${name} per mm² of tissue`,
  each: (title: string) => `${title}, slide by slide as in the table`,
  distribution: (title: string, count: number) => `${title}: ${count} slides by value; the dashed line is the median`,
  bin: (from: string, to: string, count: number) => `${from} to ${to}: ${count}`,
  noValues: 'No slide of this batch has counts of this class yet.',
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
  slow: 'slow, for no worker with a GPU is there',
}

export const LEGEND = {
  columns: ['Class', 'Area', 'Of tissue', 'Objects'],
  colour: (name: string) => `Colour of ${name}`,
  usual: 'Usual colours',
  models: 'Colours of the model',
}

export const LIST = {
  gone: 'The slide that the link names is not on the server any more.',
  usage: (stored: string, most: string | null) => `Slides and results: ${stored}${most === null ? '' : ` of ${most}`}`,
  removeOf: (name: string) => `Delete ${name}`,
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

export const SERVER = {
  given: (value: string) => `Given: ${value}.`,
  accepted: (what: string) => `Accepted: ${what}.`,
  silent: 'The server does not answer.',
  answered: (status: number) => `The server answered ${status}.`,
}

export const LINK = {
  label: 'Link to this view',
  close: 'Close',
  copied: 'Link copied',
  copy: 'Copy it from here',
}

export const NOTICE = {
  again: 'Try again',
  dismiss: 'Dismiss',
}

export const RESULT = {
  title: 'Result',
  soFar: 'Result so far',
  shows: (done: number, total: number | null) =>
    `Shows ${done} of ${total ?? '?'} regions. Areas and downloads come when the job has finished.`,
  noLabels: 'This job made no labels, so there is no overlay to show.',
}

export const WARNINGS = {
  places: (count: number) => (count === 1 ? '1 place' : `${count} places`),
  of: (places: string, warning: string) => `${places}: ${warning}`,
  at: (place: number, told: number) => `Place ${place} of ${told}`,
  largestOf: (all: number) => `, the largest of ${all}`,
  howTo: 'w and W go from place to place.',
  nowhere: 'None of the warnings is about a place.',
  none: 'There are no warnings.',
}

export const UPLOAD = {
  of: (name: string) => `Upload of ${name}`,
  sent: (done: string, all: string) => `${done} of ${all}`,
  pause: 'Pause',
  goOn: 'Go on',
  goesOn: 'Goes on…',
  cancel: 'Cancel',
  discard: 'Discard',
  checking: 'The server checks the file…',
  checks: (name: string) => `${name}: the server checks it.`,
  silent: 'The server does not answer. It is asked again…',
  fetches: (done: string, all: string) => `The server fetches it: ${done} of ${all}.`,
  refused: (name: string) => `${name} was not taken as a slide.`,
  ready: (name: string) => `${name} is ready.`,
  gone: 'The server does not have this upload any more. Choose the file again.',
  incomplete: (done: string, all: string) => `Not complete: ${done} of ${all}. Choose the same file again to go on.`,
  key: 'The server needs a key.',
  keyKept: 'The server needs a key. What has arrived is kept.',
  unreadable: 'The file cannot be read. Choose it again.',
  lost: 'The line to the server was lost. What has arrived is kept.',
}

export const DOWNLOADS = {
  title: 'Download',
  qupath: 'Open in QuPath',
  qupathHint: 'A script: run it in QuPath with this slide open.',
  making: (title: string) => `${title}: being made…`,
}

/** What each result is good for; results that are not listed go under their own name. */
export const FILES: Record<string, string> = {
  'overlay.ome.tif': 'Overlay (OME-TIFF)',
  'labels.ome.tif': 'Labels (OME-TIFF)',
  'objects.parquet': 'Objects (GeoParquet)',
  'regions.geojson.gz': 'Polygons (GeoJSON)',
  'statistics.csv': 'Areas (CSV)',
  'preview.png': 'Preview (PNG)',
  'quality.geojson.gz': 'Ink, folds, blur (GeoJSON)',
  result: 'Record (JSON)',
}
export const MADE: Record<string, string> = {
  'confidence.ome.tif': 'Confidence (OME-TIFF)',
  'features.fgb': 'Polygons (FlatGeobuf)',
  'report.pdf': 'Report (PDF)',
}
/** What only a slide that came as DICOM has. */
export const MADE_OF_DICOM: Record<string, string> = {
  'segmentation.dcm': 'Segmentation (DICOM)',
  'annotations.dcm': 'Annotations (DICOM)',
}

export const MAPS = {
  heading: 'Confidence, density',
  title: 'Map',
  kinds: { none: 'None', confidence: 'Confidence', density: 'Density of objects', difference: 'Difference of two jobs' },
  opacity: 'Opacity of the map',
  sure: 'At least sure',
  sureHint: 'What the model is less sure of is not drawn, pixel by pixel.',
  confidence: 'Colours of the confidence, from dark blue for none to yellow for full',
  density: 'Colours of the density, from dark blue for few objects to yellow for many',
  perMm2: (most: string) => `${most} per mm²`,
  cells: (um: number) => `Cells of ${um} µm; without colour where there are none.`,
  making: 'The server makes it…',
  differences: { both: 'Both the same', only_this: 'Only this job', only_other: 'Only the other', other_class: 'Different classes' },
  compared: (px: number, step: number) =>
    `Shares of ${px.toLocaleString('en')} px in which either found a class${step > 1 ? `, one in ${step} × ${step} px of the slide` : ''}.`,
}

export const COARSE = {
  title: 'Preview',
  colours: 'Colours of what is expected, from dark blue for little to yellow for much',
  perMm2: (most: number) => `${most.toLocaleString('en')} objects per mm²`,
  share: (most: number) => `${most} % of the tissue`,
  note: (samples: number) => `Estimated from ${samples} small places of the slide. It is no result, and goes where regions have landed.`,
}

export const OBJECTS = {
  heading: 'Objects',
  order: 'Order',
  orders: { confidence: 'Least sure first', '-confidence': 'Surest first', '-area': 'Largest first', area: 'Smallest first', position: 'From the top' },
  ofClass: 'Class',
  all: 'All',
  before: '‹ Previous',
  beforeLabel: 'Previous object (p)',
  next: 'Next ›',
  nextLabel: 'Next object (n)',
  howTo: 'n and p go through them. Point at one on the slide, or click it.',
  short: (name: string, um2: number, confidence: number) =>
    `${name} · ${um2 >= 10_000 ? `${(um2 / 1e6).toPrecision(3)} mm²` : `${Number(um2.toPrecision(3))} µm²`} · ${Math.round(100 * confidence)} % sure`,
  border: 'at a border',
  place: (place: number, total: number) => `${place} of ${total}`,
  none: 'There are no such objects.',
  last: 'That was the last one.',
  making: 'The server makes a list of them…',
}

export const COMPARE = {
  heading: 'Compare',
  title: 'With',
  how: 'How the two are shown',
  ways: { side: 'Side by side', swipe: 'Swipe' },
  none: 'Nothing',
  bare: 'The slide alone',
  keys: 'The other picture. Arrow keys move both, plus and minus zoom.',
  swipe: 'Line between the two pictures',
  divided: (at: number) => `${at} % of the width`,
}
