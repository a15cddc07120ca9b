// Takes the pictures of README and docs anew, of the page itself: starts a server, runs jobs on two slides, and looks.
//
//   node pictures.mjs <the slide that suits the model> <one that does not> <folder for the pictures>
//
// CHROMIUM, LDIFFUSION and PYTHON name the programs. Pictures are cut down to 256 colours, which is a third of the bytes;
// the rare ones, of classes, are kept.

import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { chromium } from 'playwright-core'

const [, , good, bad, out] = process.argv
const { CHROMIUM, LDIFFUSION = 'ldiffusion', PYTHON = 'python3' } = process.env
const MODEL = 'nuclei-fast'
/** A job may wait for a busy machine. */
const PATIENCE_MS = 900_000
/** An epidermal ridge in the one slide, level-0 px: centre, side, and side on the screen. */
const RIDGE = { x: 792, y: 2592, side: 384, shown: 500 }

const folder = mkdtempSync(join(tmpdir(), 'pictures-'))
const taken = []

/** Start a server with an empty data folder; return it with its address. */
async function serve() {
  const models = resolve(import.meta.dirname, '../../models/zoo')
  const server = spawn(LDIFFUSION, ['serve', '--port', '0', '--workers', '1', '--data-dir', join(folder, 'data'), '--models-dir', models])
  server.stderr.on('data', (text) => process.stderr.write(text))
  const url = await new Promise((found, failed) => {
    let text = ''
    server.on('exit', () => failed(new Error('The server ended.')))
    server.stdout.on('data', (more) => {
      text += more
      const ready = /ready at (\S+)/.exec(text)
      if (ready) found(ready[1])
    })
  })
  return { server, url }
}

async function drawn(page) {
  await page.waitForTimeout(900) // as long as a move of the view goes on
  await page.waitForSelector('#slide[aria-busy="false"]')
  await page.waitForTimeout(100)
}

/** Take a picture of the page, or of a part of it. */
async function shoot(page, name, clip) {
  await drawn(page)
  const path = join(out, `${name}.png`)
  await page.screenshot({ path, ...(clip ? { clip } : {}) })
  taken.push(path)
}

/** Upload a slide, and start a job on all of it; µm per pixel where its file says none. */
async function start(page, path, mpp) {
  await page.setInputFiles('#file', path)
  await page.locator('#uploads li').first().waitFor({ state: 'detached' })
  const name = path.split('/').at(-1)
  await page.locator('#slides .choose', { hasText: name }).click()
  await page.locator('#chosen-name', { hasText: name }).waitFor()
  await page.locator('#model').selectOption(MODEL)
  await page.locator('#settings').evaluate((each) => {
    each.open = true
  })
  if (mpp) await page.fill('#mpp', mpp)
  await page.getByRole('button', { name: 'Start', exact: true }).click()
}

async function finished(page) {
  await page.locator('#jobs li[data-state="succeeded"]').first().waitFor()
  await page.locator('#downloads').waitFor()
}

async function goTo(page, x, y, z) {
  await page.evaluate((fields) => {
    const hash = new URLSearchParams(location.hash.slice(1))
    for (const [name, value] of Object.entries(fields)) hash.set(name, value)
    location.hash = hash
  }, { x, y, z })
}

const showResult = (page) => page.locator('#result').evaluate((part) => part.scrollIntoView({ block: 'start' }))
const draw = (page, how) => page.getByRole('radio', { name: how }).check()

/** The slide that suits the model: while its job runs, when it has ended, and from near. */
async function ofGood(page) {
  await start(page, good)
  await page.getByText(/Shows [2-5] of \d+ regions/).waitFor()
  await shoot(page, 'viewer-live')
  await finished(page)
  await page.reload() // the form is folded once a slide has jobs
  await page.locator('#downloads').waitFor()
  await page.locator('#model').selectOption(MODEL)
  await page.getByRole('button', { name: 'Show all of the slide' }).click()
  await shoot(page, 'viewer')
  await goTo(page, RIDGE.x, RIDGE.y, '2')
  await draw(page, 'Outlines')
  await shoot(page, 'viewer-outlines')
  await goTo(page, RIDGE.x, RIDGE.y, '1')
  await showResult(page)
  await shoot(page, 'good')
  await pair(page)
}

/** One place as it is and with outlines, beside each other. */
async function pair(page) {
  await goTo(page, RIDGE.x, RIDGE.y, String(RIDGE.shown / RIDGE.side))
  await drawn(page)
  const box = await page.locator('#slide').boundingBox()
  const clip = { x: box.x + (box.width - RIDGE.shown) / 2, y: box.y + (box.height - RIDGE.shown) / 2, width: RIDGE.shown, height: RIDGE.shown }
  const halves = []
  for (const opacity of ['0', '100']) {
    await page.locator('#opacity').fill(opacity)
    await drawn(page)
    halves.push(join(folder, `${opacity}.png`))
    await page.screenshot({ path: halves.at(-1), clip })
  }
  await page.locator('#opacity').fill('50')
  const path = join(out, 'looked-at.png')
  const beside = 'import sys\nfrom PIL import Image\na, b = map(Image.open, sys.argv[1:3])\nboth = Image.new("RGB", (a.width + b.width, a.height))\n'
  execFileSync(PYTHON, ['-c', `${beside}both.paste(a, (0, 0)); both.paste(b, (a.width, 0)); both.save(sys.argv[3])`, ...halves, path])
  taken.push(path)
}

/** The slide that does not: its counts, its warnings, and the place of one of them. */
async function ofBad(page) {
  await start(page, bad, '0.5')
  await finished(page)
  await page.reload()
  await page.locator('#warnings button').first().waitFor()
  await draw(page, 'Outlines')
  await page.getByRole('application').first().focus()
  await page.keyboard.press('w')
  await page.getByRole('application').first().blur()
  await showResult(page)
  await shoot(page, 'not-good')
}

const { server, url } = await serve()
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] })
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
  page.setDefaultTimeout(PATIENCE_MS)
  await page.goto(url)
  await ofGood(page)
  await ofBad(page)
  const shrink = 'import sys\nfrom PIL import Image\nfor path in sys.argv[1:]:\n    Image.open(path).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=0).save(path, optimize=True)\n'
  execFileSync(PYTHON, ['-c', shrink, ...taken])
  console.log(taken.join('\n'))
} finally {
  await browser.close()
  server.removeAllListeners('exit')
  server.kill()
  await new Promise((done) => server.on('exit', done))
  rmSync(folder, { recursive: true, force: true })
}
