// A walk from warning to warning: by keys, by the entries of the list, and where no warning is about a place.

import { join } from 'node:path'
import { drawn, folder, goTo, inspect, open, said, settings, shoot, slide, url } from './tools.mjs'

const note = (page) => page.locator('#warning-place').innerText()

/** Upload a slide, and start a job on all of it. */
async function begin(page, path, mpp) {
  await page.setInputFiles('#file', path)
  await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
  await settings(page)
  if (mpp) await page.fill('#mpp', mpp)
  await page.getByLabel('Skip glass').uncheck()
  await page.getByRole('button', { name: 'Start', exact: true }).click()
  await page.locator('#jobs li[data-state="succeeded"]').waitFor()
  await page.locator('#warnings li').first().waitFor()
}

export const warningWays = {
  async warnings() {
    const plain = await open(url)
    await begin(plain, join(folder, '..', 'plain.tif'), '0.25')
    await plain.getByRole('application').first().focus()
    await plain.keyboard.press('w')
    said.nowhere = await note(plain)
    await plain.close()
    const page = await open(url)
    await begin(page, slide)
    await page.reload() // a list of jobs tells no places: they are asked for
    await page.locator('#warnings button').first().waitFor()
    said.entries = await page.locator('#warnings li').allInnerTexts()
    said.hint = await note(page)
    await page.getByRole('application').first().focus()
    said.told = []
    said.places = []
    const press = (key) => page.keyboard.press(key)
    for (const act of [() => press('w'), () => press('w'), () => press('W'), () => press('W'), () => page.locator('#warnings button').first().click()]) {
      const before = await note(page)
      await act()
      await page.waitForFunction((was) => document.querySelector('#warning-place').innerText !== was, before)
      await drawn(page)
      said.told.push(await note(page))
      said.places.push(Object.fromEntries(new URLSearchParams(new URL(page.url()).hash.slice(1))))
    }
    said.shots = [await shoot(page, 'framed')]
    await page.locator('#warnings button').first().click()
    await page.locator('#find-slides').fill('')
    await page.locator('#find-slides').press('w') // typed, and no key of the page
    said.typed = (await note(page)).split('tissue. ')[1]
    await page.locator('#find-slides').fill('')
    await goTo(page, { x: '1152', y: '768', z: '0.3' })
    said.below = await page.evaluate(() => document.documentElement.scrollHeight - innerHeight)
    await inspect(page, 'warnings')
    await page.screenshot({ path: join(folder, 'warnings.png'), caret: 'initial' })
    await page.setViewportSize({ width: 390, height: 844 })
    await page.locator('#warnings button').first().click()
    await drawn(page)
    said.phone = await page.locator('#slide').evaluate((slide) => [slide.getBoundingClientRect().top, slide.getBoundingClientRect().bottom, innerHeight])
    await inspect(page, 'phone')
    await page.screenshot({ path: join(folder, 'phone.png'), caret: 'initial' })
  },
}
