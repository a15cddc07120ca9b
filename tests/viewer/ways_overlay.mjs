// A walk that looks closely at how the overlay lies on the slide.

import { goTo, opaque, open, said, segment, shoot, url } from './tools.mjs'

export const overlayWays = {
  async close() {
    const page = await open(url)
    await segment(page)
    await page.locator('#result').waitFor()
    await page.waitForFunction(() => performance.getEntriesByType('resource').some(({ name }) => name.includes('/overlay_files/')))
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
  },
}
