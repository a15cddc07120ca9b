// Walks through the page in Chromium, in a way that the first argument names, and says what it saw as JSON on stdout.
//
//   node walk.mjs whole|live|failed|tablet|measure|refused|key|<of the other files> <url> <slide> <folder for screenshots> [keys]

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { context, drawn, folder, goTo, inspect, key, opaque, open, said, segment, shoot, slide, url, way } from './tools.mjs'
import { jobWays } from './ways_jobs.mjs'
import { layerWays } from './ways_layers.mjs'
import { libraryWays } from './ways_library.mjs'
import { overlayWays } from './ways_overlay.mjs'
import { readingWays } from './ways_reading.mjs'
import { regionWays } from './ways_regions.mjs'
import { reviewWays } from './ways_review.mjs'
import { uploadWays } from './ways_uploads.mjs'
import { warningWays } from './ways_warnings.mjs'

const STILL_MS = 800 // longer than a move of the view goes on

const ways = {
  ...jobWays,
  ...layerWays,
  ...libraryWays,
  ...overlayWays,
  ...readingWays,
  ...regionWays,
  ...reviewWays,
  ...uploadWays,
  ...warningWays,

  async whole() {
    const page = await open(url)
    await page.getByText('no slides on the server yet').waitFor()
    await inspect(page, 'empty')
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    await drawn(page)
    await inspect(page, 'slide')
    await page.fill('#mpp', '0.25')
    await page.getByLabel('Skip glass').uncheck()
    await page.getByRole('button', { name: 'Start', exact: true }).click()
    await page.locator('#jobs li[data-state="succeeded"]').waitFor()
    await page.locator('#result').waitFor()
    await drawn(page)
    await inspect(page, 'result')
    await page.screenshot({ path: join(folder, 'page.png'), caret: 'initial' })
    await page.emulateMedia({ colorScheme: 'dark' })
    await inspect(page, 'dark')
    await page.screenshot({ path: join(folder, 'dark.png'), caret: 'initial' })
    await page.emulateMedia({ colorScheme: 'light' })
    said.legend = await page.locator('.legend tbody tr').allInnerTexts()
    await opaque(page)
    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    said.shots = [await shoot(page, 'both')]
    await goTo(page, { x: '1150', y: '750', z: '1' })
    said.shots.push(await shoot(page, 'near'))
    await page.getByRole('checkbox', { name: 'red' }).uncheck()
    said.shots.push(await shoot(page, 'toggled'))
    await page.getByLabel('Colour of red').fill('#ff00ff')
    await page.reload()
    await page.locator('#result').waitFor()
    await opaque(page)
    said.shots.push(await shoot(page, 'reloaded'))
    said.usage = await page.locator('#usage').innerText()
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByText('Download', { exact: true }).click().then(() => page.getByRole('button', { name: 'Areas (CSV)' }).click()),
    ])
    await download.saveAs(join(folder, 'statistics.csv'))
    const [script] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Open in QuPath' }).click()])
    await script.saveAs(join(folder, 'script'))
    said.script = script.suggestedFilename()
    const link = page.url()
    await page.close()
    const other = await open('about:blank')
    await other.setViewportSize({ width: 1024, height: 768 })
    await other.goto(link)
    await other.locator('#result').waitFor()
    await opaque(other)
    said.shots.push(await shoot(other, 'linked'))
    await inspect(other, 'tablet')
    await other.screenshot({ path: join(folder, 'tablet.png'), caret: 'initial' })
    await other.getByRole('application').focus()
    await other.keyboard.press('ArrowRight')
    await other.waitForFunction((before) => location.href !== before, link)
    said.moved = new URL(other.url()).hash
  },

  async live() {
    const page = await open(url)
    await segment(page)
    await page.getByText('Shows 3 of 6 regions.').waitFor()
    await opaque(page)
    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    said.shots = [await shoot(page, 'running')]
    said.state = await page.locator('#jobs li').getAttribute('data-state')
    said.downloads = await page.locator('#downloads').isVisible()
    await inspect(page, 'running')
    await page.screenshot({ path: join(folder, 'live.png'), caret: 'initial' })
    await page.reload()
    await page.getByText('Shows 3 of 6 regions.').waitFor()
    await opaque(page)
    await page.getByRole('checkbox', { name: 'red' }).uncheck()
    said.shots.push(await shoot(page, 'toggled'))
    writeFileSync(join(folder, 'go'), '')
    await page.locator('#jobs li[data-state="succeeded"]').waitFor()
    await page.getByRole('button', { name: 'Open in QuPath' }).waitFor()
    await page.waitForFunction(() => performance.getEntriesByType('resource').some(({ name }) => name.includes('/overlay_files/')))
    said.shots.push(await shoot(page, 'finished'))
    await page.getByRole('checkbox', { name: 'red' }).check()
    await page.getByRole('radio', { name: 'Outlines' }).check()
    said.shots.push(await shoot(page, 'outlined'))
    await page.getByRole('radio', { name: 'Filled' }).check()
    said.shots.push(await shoot(page, 'filled'))
  },

  async failed() {
    const page = await open(url)
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    said.unshown = await page.locator('#notices p').innerText()
    await page.fill('#mpp', '40')
    await page.getByRole('button', { name: 'Start', exact: true }).click()
    await page.locator('#notices').getByText('µm').waitFor()
    said.refusal = await page.locator('#notices p').innerText()
    await page.fill('#mpp', '')
    await page.getByRole('button', { name: 'Start', exact: true }).click()
    await page.locator('#jobs li[data-state="failed"]').waitFor()
    said.failure = await page.locator('#jobs li').innerText()
    said.result = await page.locator('#result').isVisible()
    await page.getByText('What the server says').click()
    said.sentence = await page.locator('#jobs details p').innerText()
    await inspect(page, 'failed')
    await page.screenshot({ path: join(folder, 'failed-job.png'), caret: 'initial' })
    await page.getByLabel('Leave out damaged parts').check()
    await page.getByRole('button', { name: 'Start', exact: true }).click()
    await page.locator('#result').waitFor()
  },

  async tablet() {
    const page = await open(url)
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    await page.getByLabel('Skip glass').tap()
    await page.getByRole('button', { name: 'Start', exact: true }).tap()
    await page.locator('#result').waitFor()
    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    await drawn(page)
    said.start = new URL(page.url()).hash
    said.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    await page.locator('#result').scrollIntoViewIfNeeded()
    await page.getByRole('checkbox', { name: 'red' }).tap()
    said.isOn = await page.getByRole('checkbox', { name: 'red' }).isChecked()
    await inspect(page, 'tablet')
    await page.screenshot({ path: join(folder, 'tablet.png'), caret: 'initial' })
    const fingers = await touches(page)
    await fingers([[600, 400]], [[700, 460]])
    said.dragged = new URL(page.url()).hash
    await fingers([[650, 400], [690, 400]], [[570, 400], [770, 400]])
    said.pinched = new URL(page.url()).hash
  },

  async measure() {
    const page = await open(url)
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    await goTo(page, { x: '1000', y: '700', z: '1' })
    await drawn(page)
    said.scale = await page.locator('#scale-bar').evaluate((bar) => [bar.textContent, bar.getBoundingClientRect().width])
    said.box = await page.locator('#slide').boundingBox()
    await page.mouse.move(said.box.x + 100, said.box.y + 120)
    said.pointer = await page.locator('#position').textContent()
    said.hash = new URL(page.url()).hash.slice(1)
  },

  async refused() {
    const page = await open(url)
    await page.setInputFiles('#file', { name: 'bad.tif', mimeType: 'image/tiff', buffer: Buffer.alloc(3000, 7) })
    await page.locator('#uploads .error').waitFor()
    said.refusal = await page.locator('#uploads li').innerText()
    await inspect(page, 'refused')
    await page.reload()
    await page.locator('#earlier-uploads .error').waitFor()
    await page.screenshot({ path: join(folder, 'refused.png'), caret: 'initial' })
    await page.getByRole('button', { name: 'Dismiss' }).click()
    await page.waitForFunction(() => document.querySelectorAll('#earlier-uploads li').length === 0)
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    said.needsMpp = await page.locator('#mpp').evaluate((field) => field.required)
    said.scaleIsHidden = await page.locator('#scale-bar').isHidden()
  },

  async key() {
    const page = await open(url)
    await page.locator('#key-dialog[open]').waitFor()
    await inspect(page, 'key')
    await page.fill('#key-field', 'ldk_0000000000000000_wrong')
    await page.keyboard.press('Enter')
    await page.getByText('The server does not take this key').waitFor()
    await page.screenshot({ path: join(folder, 'key.png'), caret: 'initial' })
    await page.fill('#key-field', key)
    await page.keyboard.press('Enter')
    await page.getByText('no slides on the server yet').waitFor()
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    said.shots = [await shoot(page, 'with-key')]
    await page.getByLabel('Skip glass').uncheck()
    await page.getByRole('button', { name: 'Start', exact: true }).click()
    await page.locator('#result').waitFor()
    await page.getByText('Download', { exact: true }).click()
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Areas (CSV)' }).click(),
    ])
    await download.saveAs(join(folder, 'statistics.csv'))
    said.stored = await page.evaluate(() => ({ session: sessionStorage.length, local: JSON.stringify(localStorage) }))
    await page.reload()
    await page.locator('#slides .choose').waitFor()
  },
}

/** Return a function that puts fingers down, moves them, and lifts them; the view has come to rest when it returns. */
async function touches(page) {
  const session = await context.newCDPSession(page)
  const box = await page.locator('#slide').boundingBox()
  const points = (places) => places.map(([x, y], id) => ({ x, y, id }))
  return async (from, to) => {
    if (from.some(([x]) => x < box.x)) throw new Error('a finger is beside the slide')
    const before = page.url()
    await session.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: points(from) })
    for (const share of [0.25, 0.5, 0.75, 1]) {
      const places = from.map(([x, y], i) => [x + share * (to[i][0] - x), y + share * (to[i][1] - y)])
      await session.send('Input.dispatchTouchEvent', { type: 'touchMove', touchPoints: points(places) })
    }
    await session.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] })
    await page.waitForFunction((was) => location.href !== was, before)
    for (let last = ''; last !== page.url(); await page.waitForTimeout(STILL_MS)) last = page.url()
    await drawn(page)
  }
}

try {
  await ways[way]()
} catch (error) {
  const [page] = context.pages().slice(-1)
  await page?.screenshot({ path: join(folder, 'failed.png'), caret: 'initial' }).catch(() => undefined)
  said.failed = String(error)
} finally {
  await context.close()
}
const told = JSON.stringify(said)
writeFileSync(join(folder, 'said.json'), told) // to look at beside the pictures
console.log(told)
