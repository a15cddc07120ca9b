// Walks among slides and their jobs: what of one slide must not be seen on another, and what does not come at all.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { context, drawn, folder, inspect, opaque, open, said, settings, shoot, slide, url } from './tools.mjs'

const NOBODY = '0'.repeat(32)

/** Let go of the requests that a route holds back. */
function gate() {
  let release
  const opened = new Promise((resolve) => {
    release = resolve
  })
  return { opened, release }
}

/** Return the button that opens a slide. */
const choice = (page, name) => page.locator('#slides .choose', { hasText: name })

/** Send two files at once; the one that is ready first is opened, and the other one does not take its place. */
async function twoSlides(page) {
  await page.route('**/v1/slides?*', async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 300)) // so that the answers for both overlap
    await route.continue()
  })
  await page.setInputFiles('#file', [slide, join(folder, '..', 'other.tif')])
  await page.waitForFunction(() => document.querySelectorAll('#slides li').length > 1 && document.querySelectorAll('#uploads li').length === 0)
  await drawn(page)
  said.slides = await page.locator('#slides strong').allInnerTexts()
  said.opened = await page.locator('#slides .choose[aria-pressed="true"]').count()
  await page.unrouteAll({ behavior: 'wait' }) // a request that is held back goes on by its own handler
}

const start = (page) => page.getByRole('button', { name: 'Start', exact: true })

export const jobWays = {
  async switching() {
    const page = await open(url)
    await twoSlides(page)
    await choice(page, 'marked').click()
    await drawn(page)
    const { opened, release } = gate()
    await page.route('**/v1/jobs', async (route) => {
      if (route.request().method() === 'POST') await opened
      await route.continue()
    })
    await page.getByLabel('Skip glass').uncheck()
    const answer = page.waitForResponse((each) => each.request().method() === 'POST')
    await start(page).click()
    await choice(page, 'other').click()
    await page.getByText('Nothing has been segmented').waitFor()
    release()
    const job = await (await answer).json()
    await page.locator('#start:not([disabled])').waitFor()
    said.strangers = [await page.locator('#jobs li').count(), await page.locator('#result').isVisible()]
    said.link = new URL(page.url()).hash
    await page.unrouteAll({ behavior: 'wait' })

    await choice(page, 'marked').click()
    await page.locator('#result').waitFor()
    await page.getByRole('button', { name: 'Open in QuPath' }).waitFor()
    said.ownLink = new URL(page.url()).hash.includes(job.id)
    await page.route('**/slide.dzi', (route) => route.abort())
    await choice(page, 'other').click()
    await page.locator('#notices p').waitFor()
    said.unopened = [await page.locator('#jobs li').count(), await page.locator('#result').isVisible()]
    await page.unrouteAll({ behavior: 'wait' })

    const marked = await choice(page, 'marked').getAttribute('data-id')
    await page.evaluate((hash) => {
      location.hash = hash
    }, `slide=${marked}&job=${NOBODY}`)
    await page.locator('#notices').getByText('not on the server any more').waitFor()
    said.gone = [await page.locator('#result').isVisible(), new URL(page.url()).hash.includes('job=')]

    await page.route('**/overlay_files/**', (route) => route.abort())
    await page.locator('#jobs .choose').click()
    await page.locator('#notices').getByText('Parts of the overlay').waitFor()
    await page.unrouteAll({ behavior: 'wait' })
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByRole('button', { name: 'Open in QuPath' }).waitFor()
    await opaque(page)
    await page.waitForTimeout(100)
    said.shots = [await shoot(page, 'again')]

    await page.getByRole('button', { name: 'Link', exact: true }).click()
    await page.getByText('Download', { exact: true }).click()
    await inspect(page, 'link and downloads')
    said.reached = await tabbed(page)
    await page.getByLabel('Link to this view').focus()
    await page.keyboard.press('Escape')
    said.afterEscape = [await page.locator('#link').innerText(), await page.evaluate(() => document.activeElement.id)]

    page.on('dialog', (dialog) => dialog.accept())
    const bar = () => page.locator('#scale-bar').textContent()
    const before = await bar()
    await settings(page)
    await page.fill('#mpp', '0.5')
    await start(page).click()
    await page.locator('#jobs li[data-state="succeeded"]').nth(1).waitFor()
    await page.waitForFunction((label) => document.querySelector('#scale-bar').textContent !== label, before)
    await page.getByRole('button', { name: 'Delete job' }).first().click()
    await page.waitForFunction((label) => document.querySelector('#scale-bar').textContent === label, before)
    said.jobs = await page.locator('#jobs li').count()
    await page.getByRole('button', { name: 'Delete marked' }).click()
    await page.locator('#welcome').waitFor()
    said.after = [await page.locator('#slides li').count(), await page.locator('#chosen').isVisible(), new URL(page.url()).hash]
  },

  async early() {
    const page = await open(url)
    const begin = async () => {
      await settings(page)
      await page.getByLabel('Skip glass').uncheck()
      await start(page).click()
      await page.locator('#jobs li').first().waitFor()
    }
    const before = gate()
    await page.route('**/v1/jobs?*', async (route) => {
      const response = await route.fetch()
      await before.opened
      await route.fulfill({ response }) // as it was before the job
    })
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    await drawn(page)
    await begin()
    before.release()
    await page.locator('#result').waitFor()
    said.rows = [await page.locator('#jobs li').count()]
    await page.unrouteAll({ behavior: 'wait' })

    const after = gate()
    await page.route('**/v1/jobs?*', async (route) => {
      await after.opened
      await route.continue() // it tells of the job too
    })
    await page.reload()
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    await drawn(page)
    await begin()
    after.release()
    await page.locator('#jobs li').nth(1).waitFor()
    await page.locator('#jobs li[data-state="succeeded"]').nth(1).waitFor()
    said.rows.push(await page.locator('#jobs li').count())
    said.chosen = await page.locator('#jobs .choose').evaluateAll((all) => all.map((each) => each.ariaPressed))
    await page.unrouteAll({ behavior: 'wait' })
  },

  async queued() {
    const page = await open(url)
    await page.setInputFiles('#file', slide)
    await choice(page, 'marked').waitFor()
    const id = await choice(page, 'marked').getAttribute('data-id')
    for (let seed = 0; seed < 8; seed += 1) {
      await page.request.post(`${url}/v1/jobs`, { data: { slide_id: id, tissue: false, seed, model: 'made-model' } })
    }
    const jobs = async () => (await (await page.request.get(`${url}/v1/jobs`)).json()).items
    while (!(await jobs()).some(({ regions_done: done }) => done === 3)) await page.waitForTimeout(100)
    said.rows = await placesOf(page, jobs)
    let streams = 0
    page.on('request', (request) => {
      streams += request.url().endsWith('/events') ? 1 : 0
    })
    await page.reload()
    await page.locator('#jobs li').nth(7).waitFor()
    await inspect(page, 'queue')
    said.start = await start(page).evaluate((button) => button.getBoundingClientRect().bottom <= innerHeight)
    const begun = page.locator('#jobs li', { hasText: '3 of 6 regions' })
    await begun.locator('.choose').click()
    await page.getByText('Shows 3 of 6 regions.').waitFor()
    said.answered = await page.evaluate(async () => (await fetch('/v1/models')).status)
    said.streams = streams // of the job that was chosen first, and of this one
    const waiting = page.locator('#jobs li:not([data-state="canceled"])', { hasNotText: '3 of 6 regions' })
    const before = await waiting.count()
    await waiting.first().getByRole('button', { name: 'Cancel' }).click()
    await page.locator('#jobs li[data-state="canceled"]').waitFor()
    said.canceled = before - (await waiting.count())
    // The button is the same one after events of its job.
    const cancel = begun.getByRole('button', { name: 'Cancel' })
    await cancel.focus()
    const button = await cancel.elementHandle()
    writeFileSync(join(folder, 'go'), '')
    await page.waitForFunction((each) => each.closest('li')?.dataset.state === 'succeeded', button)
    said.focused = await button.evaluate((each) => each === document.activeElement)
    await inspect(page, 'many jobs')
    await page.getByText('About this model').click()
    said.card = await page.locator('#card-body').innerText()
    await inspect(page, 'card')
    await page.screenshot({ path: join(folder, 'card.png'), caret: 'initial' })
    await settings(page)
    await page.fill('#mpp', '1.5')
    const model = await page.locator('#model').evaluate((list) => [list.options[0].disabled, list.options[0].text])
    const refused = page.waitForResponse((answer) => answer.request().method() === 'POST')
    await start(page).click()
    said.unsuited = [...model, await page.locator('#model-hint').innerText(), (await (await refused).json()).error.code]
    await page.fill('#mpp', '0.9')
    said.suited = await page.locator('#model').evaluate((list) => list.options[0].disabled)
    await context.pages()[0].close()
  },
}

/** Return what the rows of two jobs say that wait, as the server tells of them where there is more to do than here. */
async function placesOf(page, jobs) {
  const [last, first] = (await jobs()).map((job, i) => ({ ...job, state: 'queued', preflight: { ...job.preflight, estimated_s: 300 - i } }))
  const told = new Map([[first.id, { place: 1, starts_in_s: 12 }], [last.id, { place: 2, starts_in_s: null }]])
  await page.route(/v1\/jobs\?/, async (route) => {
    const answer = await route.fetch()
    const { items } = await answer.json()
    await route.fulfill({ response: answer, json: { items: items.map((job) => (told.has(job.id) ? { ...job, state: 'queued', preflight: last.preflight } : job)) } })
  })
  await page.route(/v1\/jobs\/[0-9a-f]+$/, async (route) => {
    const id = route.request().url().split('/').pop()
    if (told.has(id)) await route.fulfill({ json: { ...first, id, waiting: told.get(id) } })
    else await route.continue()
  })
  await page.reload()
  const those = page.locator('#jobs li', { hasText: /in line.*then takes/ }) // others may really wait
  await those.nth(1).waitFor()
  const rows = await those.allInnerTexts()
  await page.screenshot({ path: join(folder, 'places.png'), caret: 'initial' })
  await page.unrouteAll({ behavior: 'wait' })
  return rows
}

/** Press Tab through the page; return what could be reached by a pointer and was not reached. */
async function tabbed(page) {
  await page.evaluate(() => {
    document.activeElement.blur()
    globalThis.reached = new Set()
    document.addEventListener('focusin', ({ target }) => globalThis.reached.add(target))
  })
  for (let presses = 0; presses < 100; presses += 1) await page.keyboard.press('Tab')
  return page.evaluate(() =>
    [...document.querySelectorAll('a[href], button, input, select, summary, .openseadragon-canvas')]
      .filter((each) => each.checkVisibility() && each.tabIndex >= 0 && !each.disabled && !globalThis.reached.has(each))
      .filter((each) => each.type !== 'radio' || each.checked) // arrows choose among radio buttons
      .map((each) => each.outerHTML),
  )
}
