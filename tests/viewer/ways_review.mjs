// Walks of what people say of objects, and of a batch as one table.

import { join } from 'node:path'
import { drawn, folder, goTo, inspect, open, said, segment, shoot, slide, url } from './tools.mjs'
import { drag, screen } from './ways_regions.mjs'

const note = (page) => page.locator('#review-note').innerText()
const counts = (page) => page.locator('.counts tbody tr').allInnerTexts()
const click = async (page, x, y) => page.mouse.click(...(await screen(page, x, y)))

/** Click an object and wait until the page says that it is chosen. */
async function choose(page, x, y, name) {
  await click(page, x, y)
  await page.locator('#review-note').getByText(`${name}, `).waitFor()
  return note(page)
}

/** Wait until the page has said what came of a correction, and the counts are those of this revision. */
async function done(page, act, text) {
  const counted = page.waitForResponse((answer) => answer.url().endsWith('/corrections/statistics'))
  await act()
  await page.locator('#review-note').getByText(text).waitFor()
  await counted
  await drawn(page)
}

async function pictures(page, name, sizes, shown) {
  for (const [kind, width, height] of sizes) {
    await page.setViewportSize({ width, height })
    await drawn(page)
    await page.locator(shown).scrollIntoViewIfNeeded()
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme })
      await page.screenshot({ path: join(folder, `${name}-${kind}-${colorScheme}.png`), caret: 'initial' })
    }
    await page.emulateMedia({ colorScheme: 'light' })
  }
}

const SIZES = [['wide', 1280, 800], ['tablet', 820, 1180], ['phone', 390, 844]]

export const reviewWays = {
  async review() {
    const page = await open(url)
    await segment(page)
    await page.locator('#review').waitFor()
    await drawn(page)
    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    await drawn(page)
    await page.locator('#opacity').fill('0')
    await click(page, 500, 400)
    said.closed = await page.locator('#review-object').isVisible() // while it is folded, clicks choose nothing
    await page.getByText('Corrections', { exact: true }).click()
    said.before = await counts(page)
    said.picked = await choose(page, 650, 510, 'red')
    said.shots = [await shoot(page, 'picked')]
    await done(page, () => page.keyboard.press('a'), 'red: accepted.')
    await choose(page, 1550, 990, 'blue')
    await done(page, () => page.getByRole('button', { name: 'Reject' }).click(), 'blue: rejected.')
    said.rejected = await counts(page)
    said.shots.push(await shoot(page, 'rejected'))
    await page.locator('#opacity').fill('50')
    await page.locator('#review').scrollIntoViewIfNeeded()
    await inspect(page, 'corrections')
    await pictures(page, 'review', SIZES, '#review-export')
    await page.setViewportSize({ width: 1280, height: 800 })
    await drawn(page)
    await page.locator('#opacity').fill('0')
    await click(page, 1200, 1200)
    await page.locator('#review-note').getByText('There is no object').waitFor()
    await done(page, () => page.keyboard.press('u'), 'Taken back.')
    said.undone = await counts(page)
    await choose(page, 650, 510, 'red')
    said.again = await note(page)
    await done(page, () => page.keyboard.press('2'), 'blue: relabelled.')
    said.relabelled = await counts(page)
    await done(page, () => page.getByRole('button', { name: 'Undo' }).click(), 'Taken back.')

    await page.locator('#review-shape').selectOption('rectangle')
    await choose(page, 1550, 990, 'blue')
    await page.keyboard.press('d')
    await done(page, () => drag(page, [1400, 900], [1600, 1000]), 'blue: redrawn.')
    await page.locator('#review-class').selectOption('red')
    await page.getByRole('button', { name: 'Add an object' }).click()
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: 'Add an object' }).click()
    await done(page, () => drag(page, [1000, 200], [1200, 300]), 'red: added.')
    said.drawn = await counts(page)
    said.shots.push(await shoot(page, 'drawn'))

    const other = await (await page.request.get(`${url}/v1/jobs`)).json()
    said.job = other.items[0].id
    const change = { action: 'accept', object: (await (await page.request.get(`${url}/v1/jobs/${said.job}/corrections`)).json()).items[0].id }
    const { revision } = await (await page.request.get(`${url}/v1/jobs/${said.job}/corrections`)).json()
    await page.request.post(`${url}/v1/jobs/${said.job}/corrections`, { data: { revision, changes: [change] } })
    await choose(page, 1100, 250, 'red')
    await page.keyboard.press('x')
    await page.locator('#notices').getByText('not those that yours begin with').waitFor() // somebody else was quicker
    await page.getByRole('button', { name: 'Dismiss' }).click()
    await page.reload()
    await page.locator('#review').waitFor()
    await page.getByText('Corrections', { exact: true }).click()
    await page.locator('.counts').waitFor()
    said.reloaded = await counts(page)
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Training folder' }).click()])
    await download.saveAs(join(folder, 'training.zip'))
  },

  async cohort() {
    const page = await open(url)
    await page.setInputFiles('#file', [slide, ...[2, 3].map((count) => join(folder, '..', `dots ${count}.tif`))])
    await page.waitForFunction(() => document.querySelectorAll('#slides li').length === 3 && document.querySelectorAll('#uploads li').length === 0)
    said.hidden = await page.locator('#batches').isHidden()
    await page.getByLabel('Choose all that are shown').check()
    await page.getByLabel('Skip glass').uncheck()
    await page.getByRole('button', { name: 'Segment them' }).click()
    await page.locator('#slides .badge.done').nth(2).waitFor()
    await page.getByText('Batches', { exact: true }).click()
    await page.locator('#batch-list').getByText('3 succeeded').waitFor()
    await page.getByRole('button', { name: /^Table of the batch/ }).click()
    const dialog = page.getByRole('dialog')
    await dialog.waitFor()
    const rows = () => dialog.locator('tbody tr').allInnerTexts()
    said.byName = await rows()
    await dialog.getByRole('button', { name: 'Per mm²' }).click()
    said.up = await rows()
    await dialog.getByRole('button', { name: 'Per mm²' }).click()
    said.down = await rows()
    said.sorted = await dialog.locator('th[aria-sort]').evaluateAll((heads) => heads.map((head) => head.getAttribute('aria-sort')))
    said.bars = await dialog.locator('svg').first().locator('rect title').allTextContents()
    said.bins = await dialog.locator('svg').nth(1).locator('rect title').allTextContents()
    await inspect(page, 'cohort')
    await pictures(page, 'cohort', SIZES, '#cohort-title')
    await page.setViewportSize({ width: 1280, height: 800 })
    for (const kind of ['CSV', 'Parquet']) {
      const [download] = await Promise.all([page.waitForEvent('download'), dialog.getByRole('button', { name: kind }).click()])
      await download.saveAs(join(folder, `cohort.${kind.toLowerCase()}`))
    }
    await dialog.getByLabel('Class').selectOption('blue')
    said.blue = await rows()
    await dialog.getByRole('link', { name: 'dots 3.tif' }).click()
    await page.locator('#chosen-name').getByText('dots 3.tif').waitFor()
    await page.locator('#result').waitFor()
    said.open = await dialog.isVisible()
  },
}
