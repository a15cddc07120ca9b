// What the walks have in common: the browser, what it is asked to do again and again, and what is noted on the way.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

export const [, , way, url, slide, folder, key] = process.argv
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
/** Ways on which tiles do not come. */
const LOSES_TILES = ['failed', 'switching', 'revoked']
/** What the walk tells the test. */
export const said = { complaints: [], requests: [], axe: [] }
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
export const context = await chromium.launchPersistentContext(join(folder, 'profile'), {
  executablePath: process.env.CHROMIUM,
  headless: true,
  args,
  ...(way === 'tablet' ? { viewport: { width: 1024, height: 768 }, hasTouch: true } : { viewport: { width: 1280, height: 800 } }),
})
context.setDefaultTimeout(60_000)

/** Return a page whose complaints and requests are noted. */
export async function open(address, options = context) {
  const page = await options.newPage()
  page.on('console', (message) => {
    // A refused request is said by the page itself; the lines of the browser and of the viewer tell nothing new.
    const isKnown = /^(Failed to load resource|Ignoring tile )/.test(message.text()) || (LOSES_TILES.includes(way) && message.text().startsWith('Tile '))
    if (['error', 'warning'].includes(message.type()) && !isKnown) {
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
export async function drawn(page) {
  const frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
  await page.evaluate(frames)
  await page.waitForSelector('#slide[aria-busy="false"]')
  await page.evaluate(frames)
}

/** Upload the slide, wait until it is shown, and start a job on all of it. */
export async function segment(page) {
  await page.setInputFiles('#file', slide)
  await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
  await page.getByLabel('Skip glass').uncheck()
  await page.getByRole('button', { name: 'Start', exact: true }).click()
}

/** Take a picture of the slide alone, without what lies over it, and say what the address says of it. */
export async function shoot(page, name) {
  await drawn(page)
  const box = await page.locator('#slide').boundingBox()
  const over = (visibility) =>
    page.evaluate((value) => {
      for (const element of document.querySelectorAll('#over, #scale-bar, #no-scale, #position-line, .navigator')) {
        element.style.visibility = value
      }
    }, visibility)
  await over('hidden')
  await page.screenshot({ path: join(folder, `${name}.png`), clip: box, caret: 'initial' })
  await over('')
  return { name, hash: new URL(page.url()).hash }
}

/** Note what axe-core takes for a serious or critical fault. */
export async function inspect(page, state) {
  await page.evaluate(AXE) // as a debugger, not as a script of the page, which the page's policy would refuse
  const { violations } = await page.evaluate(() => globalThis.axe.run())
  for (const { id, impact, nodes } of violations) {
    if (['serious', 'critical'].includes(impact)) said.axe.push(`${state}: ${id}: ${nodes.map((node) => node.html).join(' ')}`)
  }
}

/** Open what is folded once a slide has jobs. */
export async function settings(page) {
  await page.locator('#settings').evaluate((each) => {
    each.open = true
  })
}

export async function opaque(page) {
  await page.locator('#opacity').focus()
  await page.keyboard.press('End')
}

export async function goTo(page, place) {
  await page.waitForFunction(() => location.hash.includes('z=')) // the page itself has said where it is
  await page.evaluate((fields) => {
    const hash = new URLSearchParams(location.hash.slice(1))
    for (const [name, value] of Object.entries(fields)) hash.set(name, value)
    location.hash = hash
  }, place)
}
