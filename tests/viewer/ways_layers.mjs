// Walks of what lies over the slide beside the classes: confidence, density, objects, and two jobs beside each other.

import { join } from 'node:path'
import { drawn, folder, goTo, inspect, opaque, open, said, shoot, slide, url } from './tools.mjs'
import { drag, screen } from './ways_regions.mjs'

const ALL = { x: '1152', y: '768', z: '0.4' }
const hash = (page) => Object.fromEntries(new URLSearchParams(new URL(page.url()).hash.slice(1)))
const text = (page, id) => page.locator(`#${id}`).innerText()

/** Upload the slide and segment it; the classes are opaque, all of the slide is seen. */
async function begin(page) {
  await page.setInputFiles('#file', slide)
  await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
  await page.getByLabel('Skip glass').uncheck()
  await page.getByRole('button', { name: 'Start', exact: true }).click()
  await page.locator('#layers').waitFor()
  await opaque(page)
  await goTo(page, ALL)
  await drawn(page)
}

/** Set a slider, and let go of it. */
async function slideTo(page, slider, value) {
  await page.locator(slider).fill(String(value))
  await page.locator(slider).dispatchEvent('change')
}

/** Take pictures of the page as it is seen on other screens, by day and by night. */
async function looks(page, name) {
  for (const [size, width, height] of [['wide', 1280, 800], ['tablet', 820, 1180], ['phone', 390, 844]]) {
    await page.setViewportSize({ width, height })
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme })
      await drawn(page)
      await inspect(page, `${name} ${size} ${colorScheme}`)
      await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`), caret: 'initial', fullPage: size === 'phone' })
      const panel = page.locator('#layers')
      await panel.scrollIntoViewIfNeeded()
      await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}-panel.png`), caret: 'initial' })
    }
  }
  await page.emulateMedia({ colorScheme: 'light' })
  await page.setViewportSize({ width: 1280, height: 800 })
  await page.evaluate(() => scrollTo(0, 0)) // a phone scrolls
  await goTo(page, { x: '1000', y: '700', z: '0.5' }) // a window of another size shows another place; the address does not say so
  await drawn(page)
}

export const layerWays = {
  async confidence() {
    const page = await open(url)
    await begin(page)
    said.shots = [await shoot(page, 'classes')]
    await page.locator('#map-kind').selectOption('Confidence')
    await page.locator('.colour-bar').waitFor()
    await slideTo(page, '#map-opacity', 100)
    await drawn(page)
    said.shots.push(await shoot(page, 'confidence'))
    await looks(page, 'confidence')
    await goTo(page, ALL)
    await drawn(page)
    await slideTo(page, '#least-sure', 70)
    await drawn(page)
    said.shots.push(await shoot(page, 'sure-map'))
    await page.locator('#map-kind').selectOption('None')
    await drawn(page)
    said.shots.push(await shoot(page, 'sure'))
    said.link = hash(page)
    await page.reload()
    await page.locator('#layers').waitFor()
    await opaque(page)
    said.shots.push(await shoot(page, 'linked'))
    said.kept = await page.locator('#least-sure').inputValue()
    await page.getByRole('radio', { name: 'Outlines' }).check()
    said.shots.push(await shoot(page, 'outlines'))
    await page.getByRole('radio', { name: 'Filled' }).check()
    await slideTo(page, '#least-sure', 0)
    await drawn(page)
    said.shots.push(await shoot(page, 'all'))
  },

  async objects() {
    const page = await open(url)
    await begin(page)
    await page.mouse.move(...(await screen(page, 650, 500)))
    await page.locator('#under-pointer').waitFor()
    said.under = await text(page, 'under-pointer')
    said.shots = [await shoot(page, 'hovered')]
    await page.screenshot({ path: join(folder, 'hover.png'), caret: 'initial' })
    await page.mouse.move(...(await screen(page, 1200, 300)))
    await page.locator('#under-pointer').waitFor({ state: 'hidden' })
    await page.mouse.click(...(await screen(page, 1500, 1000)))
    await page.waitForFunction(() => document.querySelector('#chosen-object').textContent.includes('sure'))
    said.clicked = await text(page, 'chosen-object')
    said.told = []
    said.places = []
    for (const act of [() => page.keyboard.press('n'), () => page.getByRole('button', { name: 'Next object (n)' }).click(), () => page.keyboard.press('p')]) {
      const before = await text(page, 'chosen-object')
      await act()
      await page.waitForFunction((was) => document.querySelector('#chosen-object').innerText !== was, before)
      await drawn(page)
      said.told.push(await text(page, 'chosen-object'))
      said.places.push(hash(page))
    }
    said.shots.push(await shoot(page, 'next'))
    await page.locator('#object-order').selectOption('Largest first')
    await page.getByRole('button', { name: 'Next object (n)' }).click()
    await page.waitForFunction(() => document.querySelector('#chosen-object').innerText.includes(' of '))
    said.largest = await text(page, 'chosen-object')
    await slideTo(page, '#least-sure', 70)
    await page.getByRole('button', { name: 'Next object (n)' }).click()
    await page.waitForFunction(() => document.querySelector('#chosen-object').innerText.includes(' of '))
    said.sure = await text(page, 'chosen-object')
    await page.getByRole('button', { name: 'Next object (n)' }).click()
    await page.locator('#chosen-object', { hasText: 'That was the last one.' }).waitFor()
    await looks(page, 'objects')
  },

  async density() {
    const page = await open(url)
    await begin(page)
    await page.locator('#map-kind').selectOption('Density of objects')
    await page.locator('.colour-bar').waitFor()
    await slideTo(page, '#map-opacity', 100)
    await page.locator('#opacity').focus()
    await page.keyboard.press('Home')
    await goTo(page, ALL)
    said.shots = [await shoot(page, 'density')]
    said.legend = await page.locator('.map-legend').innerText()
    await page.getByRole('button', { name: 'Turn by 90 degrees' }).click()
    await page.waitForFunction(() => location.hash.includes('r=90'))
    await drawn(page)
    said.shots.push(await shoot(page, 'turned'))
    await page.getByRole('button', { name: 'Show all of the slide' }).click()
    await looks(page, 'density')
  },

  async compare() {
    const page = await open(url)
    await begin(page)
    await page.getByRole('button', { name: 'Rectangle', exact: true }).click()
    await drag(page, [500, 400], [1500, 1000])
    await page.getByRole('button', { name: 'Start', exact: true }).click()
    await page.locator('#jobs li[data-state="succeeded"]').nth(1).waitFor()
    await page.locator('#jobs .choose').nth(1).click() // the first job, of all of the slide
    await page.waitForFunction(() => document.querySelectorAll('#jobs .choose')[1].getAttribute('aria-pressed') === 'true')
    await page.getByText('Compare', { exact: true }).click()
    await page.waitForFunction(() => document.querySelectorAll('#compare-with option').length === 3)
    await page.locator('#compare-with').selectOption({ index: 2 })
    await page.locator('#other canvas').first().waitFor()
    await settled(page)
    await goTo(page, ALL)
    await settled(page)
    said.shots = await both(page, 'side')
    await inspect(page, 'side by side')
    const box = await page.locator('#other').boundingBox()
    await page.mouse.move(box.x + 200, box.y + 300)
    await page.mouse.down()
    await page.mouse.move(box.x + 120, box.y + 260, { steps: 6 })
    await page.mouse.up()
    await page.waitForFunction((was) => location.hash !== was, new URL(page.url()).hash)
    await settled(page)
    said.shots.push(...(await both(page, 'dragged')))
    await page.locator('#other').getByRole('application').focus()
    await page.keyboard.press('r')
    await page.waitForFunction(() => location.hash.includes('r=90'))
    await settled(page)
    said.shots.push(...(await both(page, 'turned')))
    await page.keyboard.press('0')
    await page.waitForFunction(() => !location.hash.includes('r='))
    await goTo(page, ALL)
    await settled(page)
    await page.getByRole('radio', { name: 'Swipe' }).check()
    await settled(page)
    await goTo(page, ALL)
    await settled(page)
    said.shots.push(await shootStage(page, 'swiped'))
    await page.getByRole('separator').focus()
    for (let i = 0; i < 10; i += 1) await page.keyboard.press('ArrowLeft')
    said.swiped = await page.getByRole('separator').getAttribute('aria-valuenow')
    await settled(page)
    said.shots.push(await shootStage(page, 'swiped-left'))
    await inspect(page, 'swipe')
    said.link = hash(page)
    await page.reload()
    await page.locator('#other canvas').first().waitFor()
    await opaque(page)
    await settled(page)
    said.shots.push(await shootStage(page, 'linked'))
    await slideTo(page, '#least-sure', 70)
    await page.waitForFunction(() => {
      const asked = performance.getEntriesByType('resource').map(({ name }) => /jobs\/(\w+)\/confidence_files/.exec(name)?.[1])
      return new Set(asked.filter(Boolean)).size === 2 // of both jobs, which the server makes first
    })
    await settled(page)
    said.shots.push(await shootStage(page, 'sure-both'))
    await slideTo(page, '#least-sure', 0)
    await settled(page)
    const handle = await page.getByRole('separator').boundingBox()
    await page.mouse.move(handle.x + handle.width / 2, handle.y + 200)
    await page.mouse.down()
    await page.mouse.move(handle.x + handle.width / 2 + 200, handle.y + 220, { steps: 5 })
    await page.mouse.up()
    said.dragged = [handle.x + handle.width / 2 + 200, (await page.getByRole('separator').boundingBox()).x + handle.width / 2]
    await page.getByText('Compare', { exact: true }).click()
    await page.locator('#map-kind').selectOption('Difference of two jobs')
    await page.locator('.patch').first().waitFor()
    await slideTo(page, '#map-opacity', 100)
    await page.getByRole('separator').focus()
    await page.keyboard.press('End')
    await goTo(page, ALL)
    await settled(page)
    said.shots.push(await shootStage(page, 'difference'))
    said.legend = await page.locator('.map-legend tbody tr').allInnerTexts()
    await page.getByRole('separator').focus()
    for (const key of ['Home', ...Array(25).fill('ArrowRight')]) await page.keyboard.press(key)
    await looks(page, 'swipe')
    await page.getByRole('radio', { name: 'Side by side' }).check()
    await settled(page)
    await looks(page, 'side')
    await page.locator('#compare-with').selectOption('The slide alone')
    await settled(page)
    await goTo(page, ALL)
    await settled(page)
    said.shots.push(...(await both(page, 'bare')))
    said.maps = await page.locator('#map-kind').inputValue()
    await page.locator('#compare-with').selectOption('Nothing')
    await page.locator('#other').waitFor({ state: 'hidden' })
    await goTo(page, ALL)
    said.shots.push(await shoot(page, 'alone'))
  },
}

/** Wait until both pictures are drawn. */
async function settled(page) {
  await drawn(page)
  await page.waitForFunction(() => document.querySelector('#other[hidden], #other[aria-busy="false"]') !== null)
  await page.waitForTimeout(700) // as long as a move goes on
  await drawn(page)
}

async function shootStage(page, name) {
  return { ...(await shootBox(page, name, '#stage')), name }
}

/** Take a picture of each of the two. */
async function both(page, name) {
  return [await shootBox(page, `${name}-this`, '#slide'), await shootBox(page, `${name}-other`, '#other')]
}

async function shootBox(page, name, selector) {
  const clip = await page.locator(selector).boundingBox()
  const over = (visibility) =>
    page.evaluate((value) => {
      for (const element of document.querySelectorAll('#over, #scale-bar, #no-scale, #position-line, .navigator, .pane-name, #swipe')) {
        element.style.visibility = value
      }
    }, visibility)
  await over('hidden')
  await page.screenshot({ path: join(folder, `${name}.png`), clip, caret: 'initial' })
  await over('')
  return { name, hash: new URL(page.url()).hash }
}
