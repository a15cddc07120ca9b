// A walk of what is read off a slide: its scale, given by hand, magnifications, lengths and areas, turned and mirrored.

import { join } from 'node:path'
import { drawn, folder, goTo, inspect, open, said, shoot, slide, url } from './tools.mjs'
import { drag, screen } from './ways_regions.mjs'

const press = (page, name) => page.getByRole('button', { name, exact: true }).click()
const text = (page, id) => page.locator(`#${id}`).textContent()

/** Wait until the address says something, and the view has come to rest. */
async function until(page, part) {
  await page.waitForFunction((wanted) => location.hash.includes(wanted), part)
  await drawn(page)
}

export const readingWays = {
  async reading() {
    const page = await open(url)
    await page.setInputFiles('#file', slide)
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    await drawn(page)
    said.before = [await page.locator('#no-scale').isVisible(), await page.locator('#scale-bar').isVisible(), await page.getByRole('button', { name: '20×' }).isDisabled()]
    await page.locator('#no-scale').click()
    await page.keyboard.type('0.5')
    await press(page, 'Keep on the slide')
    await page.locator('#scale-bar').waitFor()
    said.kept = [(await (await page.request.get(`${url}/v1/slides`)).json()).items[0].geometry.mpp_x, await text(page, 'mpp-hint')]
    await page.reload()
    await page.locator('#scale-bar').waitFor()
    await drawn(page)

    await page.getByRole('button', { name: '20×', exact: true }).click()
    await until(page, 'z=1')
    said.bar = await page.locator('#scale-bar').evaluate((bar) => [bar.textContent, bar.getBoundingClientRect().width])
    said.magnification = [await text(page, 'magnification'), await page.getByRole('button', { name: '20×', exact: true }).getAttribute('aria-pressed')]

    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    await drawn(page)
    await press(page, 'Ruler')
    await drag(page, [500, 600], [1300, 1200])
    await press(page, 'Area')
    for (const [x, y] of [[1300, 820], [1800, 820], [1800, 1160], [1300, 1160], [1300, 820]]) await page.mouse.click(...(await screen(page, x, y)))
    await page.keyboard.press('Escape')
    said.measured = await page.locator('.sketches text').allTextContents()
    await inspect(page, 'measured')
    said.shots = [await shoot(page, 'measured')]
    await page.screenshot({ path: join(folder, 'reading.png'), caret: 'initial' })
    await page.fill('#mpp', '0.25')
    await press(page, 'Keep on the slide')
    await page.waitForFunction(() => document.querySelector('#magnification').textContent === '16.0×')
    said.remeasured = await page.locator('.sketches text').allTextContents()
    await press(page, 'Clear')
    said.cleared = await page.locator('.sketches text').count()

    await press(page, 'Turn by 90 degrees')
    await until(page, 'r=90')
    said.shots.push(await shoot(page, 'turned'))
    await press(page, 'Mirror')
    await until(page, 'm=1')
    said.shots.push(await shoot(page, 'mirrored'))
    said.turned = await text(page, 'turned')
    const box = await page.locator('#slide').boundingBox()
    await page.mouse.move(box.x + 200, box.y + 300)
    said.pointer = await text(page, 'position')
    await page.reload()
    await page.locator('#turned').waitFor()
    said.shots.push(await shoot(page, 'linked'))
    await page.screenshot({ path: join(folder, 'turned-page.png'), caret: 'initial' })
    await press(page, 'Rectangle')
    await page.mouse.move(box.x + 150, box.y + 200)
    await page.mouse.down()
    await page.mouse.move(box.x + 350, box.y + 300, { steps: 3 })
    await page.mouse.up()
    said.shots.push(await shoot(page, 'framed'))
    await page.getByRole('application').focus()
    await page.keyboard.press('0')
    await page.waitForFunction(() => !location.hash.includes('r=') && !location.hash.includes('m='))
    await page.waitForFunction(() => document.querySelector('#turned').hidden)
    said.box = box
    await page.setViewportSize({ width: 390, height: 844 })
    await drawn(page)
    await page.screenshot({ path: join(folder, 'phone.png'), caret: 'initial', fullPage: true })
  },
}
