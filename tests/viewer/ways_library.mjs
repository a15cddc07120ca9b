// A walk through a long list of slides: searched, sorted, filtered, several chosen together.

import { join } from 'node:path'
import { drawn, folder, inspect, open, said, slide, url } from './tools.mjs'

/** So many slides besides, which the server does not have: they are told by the answers to the page. */
const MANY = 300

const choice = (page, name) => page.locator('#slides .choose', { hasText: name })
/** Of what is out of sight, browsers give no `innerText`. */
const names = (page) => page.locator('#slides strong').allTextContents()

/** Let the server tell of many more slides, and of jobs on some of them. */
async function multiply(page) {
  const { items } = await (await page.request.get(`${url}/v1/slides`)).json()
  const made = Array.from({ length: MANY }, (_, i) => ({
    ...items[0],
    id: String(i).padStart(32, 'e'),
    filename: `case ${i % 60} block ${i}.svs`,
    size_bytes: 1e6 + i,
    created_at: new Date(Date.parse(items[0].created_at) - 60_000 * (i + 1)).toISOString(),
  }))
  const all = [...items, ...made]
  await page.route(/v1\/slides\?/, (route) => {
    const query = new URL(route.request().url()).searchParams
    const [from, limit] = [Number(query.get('cursor') ?? 0), Number(query.get('limit'))]
    const next_cursor = from + limit < all.length ? String(from + limit) : null
    return route.fulfill({ json: { items: all.slice(from, from + limit), next_cursor } })
  })
  const job = (i, state, warnings) => ({ id: String(i).padStart(32, 'd'), state, warnings, request: { slide_id: made[i].id }, created_at: made[i].created_at })
  const warning = { code: 'ink_present', message: 'There is ink.', value: null }
  await page.route(/v1\/jobs\?limit=1000/, (route) =>
    route.fulfill({ json: { items: [job(3, 'running', []), job(4, 'succeeded', []), job(5, 'succeeded', [warning]), job(6, 'failed', [])] } }),
  )
}

export const libraryWays = {
  /** So many slides of the server itself: how soon they are there, and how soon one is found among them. */
  async hundreds() {
    const page = await open('about:blank')
    await page.addInitScript((many) => {
      const look = () => {
        if (document.querySelectorAll('#slides li').length >= many) globalThis.listed = Math.round(performance.now())
        else requestAnimationFrame(look)
      }
      requestAnimationFrame(look)
    }, MANY)
    const workers = async () => (await (await page.request.get(`${url}/v1/system`)).json()).workers
    while ((await workers()) === 0) await page.waitForTimeout(200) // it takes a processor to start
    said.times = []
    for (let time = 0; time < 3; time += 1) {
      await page.goto('about:blank')
      await page.goto(url)
      await page.locator('#slides li').nth(MANY - 1).waitFor()
      const painted = await page.evaluate(() => Math.round(performance.getEntriesByName('first-contentful-paint')[0].startTime))
      const listed = await page.evaluate(() => globalThis.listed)
      const searched = await page.evaluate(async () => {
        const field = document.querySelector('#find-slides')
        const begin = performance.now()
        field.value = 'block 123'
        field.dispatchEvent(new Event('input'))
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)))
        return Math.round(performance.now() - begin)
      })
      said.times.push({ painted, listed, searched })
    }
    said.one = [await names(page), await page.locator('#slides-count').innerText()]
  },

  async library() {
    const page = await open(url)
    await page.setInputFiles('#file', [slide, join(folder, '..', 'b 9.tif')])
    await page.waitForFunction(() => document.querySelectorAll('#slides li').length === 2 && document.querySelectorAll('#uploads li').length === 0)
    await page.getByLabel('Sort slides').selectOption('name')
    said.byName = await names(page)
    await page.getByLabel('Search slides by name').fill('TIF 9')
    said.found = [await names(page), await page.locator('#slides-count').innerText()]
    await page.getByLabel('Search slides by name').fill('')
    await page.getByLabel('Choose all that are shown').check()
    await page.getByLabel('Skip glass').uncheck()
    await page.getByRole('button', { name: 'Segment them' }).click()
    await page.locator('#picked-note').getByText('2 jobs wait').waitFor()
    await page.locator('#slides .badge.running').first().waitFor()
    await page.locator('#slides .badge.done').nth(1).waitFor()
    await page.getByLabel('Show slides by their jobs').selectOption('none')
    said.without = [await names(page), await page.locator('#no-slides').innerText()]
    await page.getByLabel('Show slides by their jobs').selectOption('done')
    await page.getByLabel('Choose b 10.tif with others').uncheck()
    page.on('dialog', (dialog) => dialog.accept())
    await page.getByRole('button', { name: 'Delete them' }).click()
    await page.waitForFunction(() => document.querySelectorAll('#slides li').length === 1)
    said.left = [await names(page), await page.locator('#picked').isVisible()]
    await choice(page, 'b 10').click()
    await drawn(page)

    await multiply(page)
    await page.reload()
    await page.locator('#slides li').nth(MANY).waitFor()
    await drawn(page)
    said.requests.push(`thumbnails ${said.requests.filter((line) => line.includes('/thumbnail.jpeg')).length}`)
    await page.getByLabel('Search slides by name').fill('block 123')
    said.one = [await names(page), await page.locator('#slides-count').innerText()]
    await page.getByLabel('Search slides by name').fill('')
    said.badges = {}
    for (const state of ['running', 'done', 'warning', 'failed']) {
      await page.getByLabel('Show slides by their jobs').selectOption(state)
      said.badges[state] = await names(page)
    }
    await page.getByLabel('Show slides by their jobs').selectOption('')
    await page.getByLabel('Sort slides').selectOption('oldest')
    const shown = page.locator('#slides .choose[aria-pressed="true"]')
    await page.evaluate(() => document.querySelector('#library').scrollTo(0, 0))
    said.first = (await names(page))[0]
    await page.reload()
    await shown.waitFor()
    await page.getByLabel('Sort slides').selectOption('oldest')
    await page.waitForFunction(() => {
      const [box, around] = ['#slides .choose[aria-pressed="true"]', '#library'].map((each) => document.querySelector(each).getBoundingClientRect())
      return box.top >= around.top && box.bottom <= around.bottom
    })
    await inspect(page, 'many slides')
    await page.locator('#slides input[type="checkbox"]').nth(MANY - 1).check()
    await page.screenshot({ path: join(folder, 'library.png'), caret: 'initial' })
    await page.setViewportSize({ width: 1024, height: 768 })
    await page.screenshot({ path: join(folder, 'library-tablet.png'), caret: 'initial' })
    await page.unrouteAll({ behavior: 'ignoreErrors' })
  },
}
