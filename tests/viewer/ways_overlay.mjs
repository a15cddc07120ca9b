// A walk that looks closely at how the overlay lies on the slide.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { folder, goTo, inspect, opaque, open, said, segment, shoot, url } from './tools.mjs'

export const overlayWays = {
  async coarse() {
    const page = await open(url)
    const preview = {
      ...{ cell_px: [1152, 1536], columns: 2, rows: 1, samples: 120, samples_mm2: 0.5, classes: [] },
      per_mm2: [null, 1234],
    }
    await page.route('**/coarse-preview', (route) => route.fulfill({ json: preview }))
    await segment(page)
    await page.getByText('Estimated from 120 small places').waitFor()
    said.note = await page.locator('#coarse').innerText()
    await opaque(page)
    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    said.shots = [await shoot(page, 'expected')]
    await inspect(page, 'expected')
    await page.screenshot({ path: join(folder, 'coarse.png'), caret: 'initial' })
    writeFileSync(join(folder, 'go'), '')
    await page.locator('#jobs li[data-state="succeeded"]').waitFor()
    await page.locator('#coarse').waitFor({ state: 'hidden' })
    said.shots.push(await shoot(page, 'done'))
  },

  async close() {
    const page = await open(url)
    await segment(page)
    await page.locator('#result').waitFor()
    await page.waitForFunction(() => performance.getEntriesByType('resource').some(({ name }) => name.includes('/overlay_files/')))
    await page.getByText('Opacity and colours of classes').click()
    await page.getByRole('button', { name: 'Colours of the model' }).click()
    await inspect(page, 'colours')
    said.shots = []
    for (const [name, x, y] of [['left', '300.07', '512.07'], ['right', '1792.07', '384.07']]) {
      await goTo(page, { x, y, z: '6' })
      said.shots.push(await shoot(page, name))
      await goTo(page, { x, y, z: '0.77' })
      said.shots.push(await shoot(page, `${name}-shrunk`))
    }
    await opaque(page)
    await goTo(page, { x: '1152', y: '768', z: '0.4' })
    said.shots.push(await shoot(page, 'both'))
    await goTo(page, { x: '1150', y: '750', z: '1' })
    said.shots.push(await shoot(page, 'near'))
    await page.screenshot({ path: join(folder, 'colours.png'), caret: 'initial' })
    await page.locator('#class-paints').getByLabel('blue').fill('50')
    said.shots.push(await shoot(page, 'faint'))
    await page.getByRole('radio', { name: 'Outlines' }).check()
    for (const [name, x, y, z] of [['line-far', '1152', '768', '0.3'], ['line-near', '300', '512', '0.77'], ['line-close', '300', '512', '6'], ['line-tile', '1664', '384', '1.5']]) {
      await goTo(page, { x, y, z })
      said.shots.push(await shoot(page, name))
    }
    await page.screenshot({ path: join(folder, 'lines.png'), caret: 'initial' })
  },
}
