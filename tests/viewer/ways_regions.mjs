// A walk of what is drawn on the slide: regions for jobs, and what the list says of these jobs.

import { join } from 'node:path'
import { drawn, folder, goTo, inspect, opaque, open, said, shoot, slide, url } from './tools.mjs'

/** Return where on the screen a level-0 position is, by the address. */
export async function screen(page, x, y) {
  const place = new URLSearchParams(new URL(page.url()).hash.slice(1))
  const box = await page.locator('#slide').boundingBox()
  const [hashX, hashY, z] = ['x', 'y', 'z'].map((name) => Number(place.get(name)))
  return [box.x + box.width / 2 + (x - hashX) * z, box.y + box.height / 2 + (y - hashY) * z]
}

/** Drag from one level-0 position over others. */
export async function drag(page, ...places) {
  const [from, ...over] = await Promise.all(places.map(([x, y]) => screen(page, x, y)))
  await page.mouse.move(...from)
  await page.mouse.down()
  for (const each of over) await page.mouse.move(...each, { steps: 4 })
  await page.mouse.up()
}

const choose = (page, name) => page.getByRole('button', { name, exact: true }).click()
const hint = (page) => page.locator('#where-hint').innerText()

/** Start a job on what is chosen; return what was asked. */
async function run(page) {
  const asked = page.waitForRequest((request) => request.method() === 'POST' && request.url().endsWith('/v1/jobs'))
  await choose(page, 'Start')
  return (await asked).postDataJSON().roi ?? null
}

/** Wait until so many jobs have succeeded, and the overlay of the one that is looked at is there. */
async function done(page, count) {
  await page.locator('#jobs li[data-state="succeeded"]').nth(count - 1).waitFor()
  await page.waitForFunction(() => performance.getEntriesByType('resource').some(({ name }) => name.includes('/overlay_files/')))
  await opaque(page)
}

export const regionWays = {
  async regions() {
    const page = await open(url)
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    await drawn(page)
    await page.getByLabel('Skip glass').uncheck()
    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    await drawn(page)
    said.asked = {}
    said.hints = [await hint(page)]
    await choose(page, 'Rectangle')
    await drag(page, [500, 400], [1500, 1000])
    said.hints.push(await hint(page))
    said.asked.rectangle = await run(page)
    await done(page, 1)
    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    said.shots = [await shoot(page, 'rectangle')]
    await goTo(page, { x: '500', y: '600', z: '3' })
    said.shots.push(await shoot(page, 'edge'))
    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    await drawn(page)
    await inspect(page, 'region')
    await page.screenshot({ path: join(folder, 'regions.png'), caret: 'initial' })

    await choose(page, 'Polygon')
    for (const [x, y] of [[350, 200], [750, 200], [750, 900], [350, 200]]) await page.mouse.click(...(await screen(page, x, y)))
    said.hints.push(await hint(page))
    said.asked.polygon = await run(page)
    await done(page, 2)
    said.shots.push(await shoot(page, 'polygon'))

    await choose(page, 'Freehand')
    await drag(page, [1200, 800], [1900, 800], [1900, 1600], [1200, 1600]) // past the end of the slide
    said.hints.push(await hint(page))
    said.asked.freehand = await run(page)
    await choose(page, 'Rectangle')
    await page.keyboard.press('Escape')
    said.hints.push(await hint(page)) // the region before stays

    await goTo(page, { x: '1400', y: '900', z: '1.5' })
    await drawn(page)
    await choose(page, 'What I see')
    said.box = await page.locator('#slide').boundingBox()
    said.asked.view = await run(page)
    await choose(page, 'Whole slide')
    said.asked.all = await run(page)
    await page.locator('#jobs li').nth(4).waitFor()
    said.rows = await page.locator('#jobs .choose').allInnerTexts()
    await page.locator('#jobs li').nth(4).getByText('Parameters').click()
    said.parameters = await page.locator('#jobs li').nth(4).locator('dl').innerText()
    await page.locator('#jobs li').nth(4).getByRole('button', { name: 'Take its region again' }).click()
    said.hints.push(await hint(page))
    await inspect(page, 'parameters')
    await page.screenshot({ path: join(folder, 'parameters.png'), caret: 'initial' })
    await page.setViewportSize({ width: 390, height: 844 })
    await drawn(page)
    await page.screenshot({ path: join(folder, 'phone.png'), caret: 'initial', fullPage: true })
  },
}
