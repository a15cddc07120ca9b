// Walks through the page in Chromium, in a way that the first argument names, and says what it saw as JSON on stdout.
//
//   node walk.mjs whole|measure|refused|resume|key <url> <slide> <folder for screenshots> [key]

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const [, , way, url, slide, folder, key] = process.argv
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const said = { complaints: [], requests: [], axe: [] }
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
const context = await chromium.launchPersistentContext(join(folder, 'profile'), {
  executablePath: process.env.CHROMIUM,
  headless: true,
  args,
  viewport: { width: 1280, height: 800 },
})
context.setDefaultTimeout(60_000)

/** Return a page whose complaints and requests are noted. */
async function open(address, options = context) {
  const page = await options.newPage()
  page.on('console', (message) => {
    // A refused request is said by the page itself; the browser's line on it tells nothing new.
    if (['error', 'warning'].includes(message.type()) && !message.text().startsWith('Failed to load resource')) {
      said.complaints.push(`${message.text()} (${JSON.stringify(message.location())})`)
    }
  })
  page.on('pageerror', (error) => said.complaints.push(String(error)))
  page.on('response', (answer) => {
    const path = new URL(answer.url()).pathname
    said.requests.push(`${answer.request().method()} ${path} ${answer.status()}`)
  })
  await page.goto(address)
  return page
}

/** Wait until every tile of the view is there. A change is noticed with the next frame, and drawn with one more. */
async function drawn(page) {
  const frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
  await page.evaluate(frames)
  await page.waitForSelector('#slide[aria-busy="false"]')
  await page.evaluate(frames)
}

/** Take a picture of the slide alone, without what lies over it, and say what the address says of it. */
async function shoot(page, name) {
  await drawn(page)
  const box = await page.locator('#slide').boundingBox()
  const over = (visibility) =>
    page.evaluate((value) => {
      for (const element of document.querySelectorAll('#tools, #scale-bar, #position, .navigator')) {
        element.style.visibility = value
      }
    }, visibility)
  await over('hidden')
  await page.screenshot({ path: join(folder, `${name}.png`), clip: box, caret: 'initial' })
  await over('')
  return { name, hash: new URL(page.url()).hash }
}

/** Note what axe-core takes for a serious or critical fault. */
async function inspect(page, state) {
  await page.evaluate(AXE) // as a debugger, not as a script of the page, which the page's policy would refuse
  const { violations } = await page.evaluate(() => globalThis.axe.run())
  for (const { id, impact, nodes } of violations) {
    if (['serious', 'critical'].includes(impact)) said.axe.push(`${state}: ${id}: ${nodes.map((node) => node.html).join(' ')}`)
  }
}

async function opaque(page) {
  await page.locator('#opacity').focus()
  await page.keyboard.press('End')
}

async function goTo(page, place) {
  await page.waitForFunction(() => location.hash.includes('z=')) // the page itself has said where it is
  await page.evaluate((fields) => {
    const hash = new URLSearchParams(location.hash.slice(1))
    for (const [name, value] of Object.entries(fields)) hash.set(name, value)
    location.hash = hash
  }, place)
}

const ways = {
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
    said.legend = await page.locator('.legend tbody tr').allInnerTexts()
    await opaque(page)
    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    said.shots = [await shoot(page, 'both')]
    await goTo(page, { x: '1150', y: '750', z: '1' })
    said.shots.push(await shoot(page, 'near'))
    await page.getByRole('checkbox', { name: 'red' }).uncheck()
    said.shots.push(await shoot(page, 'toggled'))
    await page.reload()
    await page.locator('#result').waitFor()
    await opaque(page)
    said.shots.push(await shoot(page, 'reloaded'))
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByText('Download', { exact: true }).click().then(() => page.getByRole('button', { name: 'Areas (CSV)' }).click()),
    ])
    await download.saveAs(join(folder, 'statistics.csv'))
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
    await page.locator('#uploads .error').waitFor()
    await page.screenshot({ path: join(folder, 'refused.png'), caret: 'initial' })
    await page.getByRole('button', { name: 'Dismiss' }).click()
    await page.waitForFunction(() => document.querySelectorAll('#uploads li').length === 0)
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    said.needsMpp = await page.locator('#mpp').evaluate((field) => field.required)
    said.scaleIsHidden = await page.locator('#scale-bar').isHidden()
  },

  async resume() {
    const page = await open(url)
    await page.route('**/v1/uploads/*', (route) => (route.request().method() === 'PATCH' ? route.abort() : route.continue()))
    await page.setInputFiles('#file', slide)
    await page.waitForEvent('requestfailed')
    await page.reload()
    await page.getByText('Choose the same file again to go on').waitFor()
    await page.unrouteAll()
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    said.left = await page.locator('#uploads li').count()
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

try {
  await ways[way]()
} catch (error) {
  const [page] = context.pages().slice(-1)
  await page?.screenshot({ path: join(folder, 'failed.png'), caret: 'initial' }).catch(() => undefined)
  said.failed = String(error)
} finally {
  await context.close()
}
console.log(JSON.stringify(said))
