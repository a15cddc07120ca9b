// Walks of what goes up: cut off, halted, taken up again, dropped, and what is no longer there.

import { execFileSync } from 'node:child_process'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { context, drawn, folder, inspect, key, open, said, segment, shoot, slide, url } from './tools.mjs'

const MEGABYTE = 2 ** 20
const rows = (page) => page.locator('#uploads li')

/** Drop a file or folder of this machine onto the slide, as the browser itself tells it. */
async function drop(page, path) {
  const session = await context.newCDPSession(page)
  const data = { items: [], files: [path], dragOperationsMask: 1 }
  for (const type of ['dragEnter', 'dragOver', 'drop']) await session.send('Input.dispatchDragEvent', { type, x: 600, y: 400, data })
}

/** Say how fast what is sent may go. */
async function slowly(page, bytesPerS) {
  const session = await context.newCDPSession(page)
  const line = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: bytesPerS }
  await session.send('Network.emulateNetworkConditions', line)
}

const isPatch = (answer) => answer.request().method() === 'PATCH'

export const uploadWays = {
  async resume() {
    const page = await open(url)
    await slowly(page, 20 * MEGABYTE)
    const first = page.waitForResponse(isPatch)
    await page.setInputFiles('#file', slide)
    await first
    await page.getByRole('button', { name: 'Pause' }).click()
    said.paused = await rows(page).count()
    const asked = page.waitForResponse((answer) => answer.request().method() === 'HEAD')
    await page.getByRole('button', { name: 'Go on' }).click()
    await asked
    await page.getByRole('button', { name: 'Pause' }).click()
    said.goneOn = await rows(page).innerText()
    await page.reload()
    const line = page.getByText('Choose the same file again to go on')
    await line.waitFor()
    said.incomplete = await line.innerText()
    const rest = page.waitForRequest((request) => request.method() === 'PATCH')
    await page.setInputFiles('#file', slide)
    said.offset = Number((await rest).headers()['upload-offset'])
    said.size = statSync(slide).size
    await page.locator('#slides .choose[aria-pressed="true"]').waitFor()
    said.left = await page.locator('#library :is(#uploads, #earlier-uploads) li').count()
  },

  async gone() {
    const page = await open(url)
    // What other clients send, and what the server fetches.
    const metadata = `filename ${Buffer.from('others.svs').toString('base64')}`
    const headers = { 'Tus-Resumable': '1.0.0', 'Upload-Length': '1000000', 'Upload-Metadata': metadata }
    for (let each = 0; each < 3; each += 1) await page.request.post(`${url}/v1/uploads`, { headers })
    let [fetched] = (await (await page.request.get(`${url}/v1/uploads`)).json()).items
    fetched = { ...fetched, id: 'f'.repeat(32), filename: 'fetched.svs', source: 'https://slides.example/fetched.svs' }
    await page.route('**/v1/uploads?*', async (route) => {
      const answer = await route.fetch()
      const { items } = await answer.json()
      await route.fulfill({ response: answer, json: { items: [...items, fetched] } })
    })
    await page.route(`**/v1/uploads/${fetched.id}`, (route) => route.fulfill({ json: fetched }))
    await page.reload()
    await page.getByText('The server fetches it').waitFor()
    said.fetched = await rows(page).innerText()
    said.areFolded = !(await page.getByText('Not complete').first().isVisible())
    await page.getByText('Earlier uploads', { exact: true }).click()
    said.others = await page.locator('#earlier-uploads li').first().innerText()
    await inspect(page, 'earlier uploads')
    await page.unrouteAll()
    await page.route(`**/v1/uploads/${fetched.id}`, (route) => route.continue()) // the server knows none
    await rows(page).getByText('does not have this upload any more').waitFor()
    said.lost = await rows(page).innerText()
    await page.getByRole('button', { name: 'Dismiss' }).click()

    await drop(page, folder)
    await page.locator('#notices').getByText('is a folder').waitFor()
    await page.getByRole('button', { name: 'Dismiss' }).click()
    writeFileSync(join(folder, 'dropped.svs'), 'no slide')
    await drop(page, join(folder, 'dropped.svs'))
    await page.locator('#uploads .error').waitFor()
    await page.getByText('What the server says').click()
    said.dropped = await rows(page).innerText()
    await page.getByRole('button', { name: 'Dismiss' }).click()

    await slowly(page, 1000)
    await page.setInputFiles('#file', slide)
    const ended = page.waitForRequest((request) => request.method() === 'DELETE')
    await page.waitForRequest((request) => request.method() === 'PATCH')
    await page.getByRole('button', { name: 'Cancel' }).click()
    await ended
    said.canceled = await rows(page).count()
  },

  async revoked() {
    const [first, second] = key.split(' ')
    const page = await open(url)
    const dialog = page.locator('#key-dialog[open]')
    const give = async (each) => {
      await dialog.waitFor()
      await page.fill('#key-field', each)
      await page.keyboard.press('Enter')
    }
    await dialog.waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: 'Enter key' }).click()
    await give(first)
    await page.getByText('no slides on the server yet').waitFor()
    said.links = await page.locator('header nav > :visible').allInnerTexts()
    await segment(page)
    await page.getByText('Shows 3 of 6 regions.').waitFor()
    await drawn(page)

    execFileSync(process.env.LDIFFUSION, ['keys', 'revoke', first.split('_')[1]])
    let dialogs = 0
    await page.exposeFunction('dialogOpened', () => {
      dialogs += 1
    })
    await page.evaluate(() => {
      const seen = new MutationObserver(([{ target }]) => target.open && globalThis.dialogOpened())
      seen.observe(document.querySelector('#key-dialog'), { attributeFilter: ['open'] })
    })
    await page.waitForTimeout(1000) // the server looks at its keys twice a second
    await page.evaluate(() => {
      for (let each = 0; each < 4; each += 1) document.querySelector('#zoom-in').click() // new tiles are asked for
    })
    await dialog.waitFor()
    await page.keyboard.press('Escape')
    await page.setInputFiles('#file', { name: 'late.tif', mimeType: 'image/tiff', buffer: Buffer.alloc(3000, 7) })
    await page.locator('#uploads').getByText('needs a key').waitFor()
    await page.waitForTimeout(4000) // longer than a lost stream waits before it is taken up again
    said.dialogs = dialogs
    await page.getByRole('button', { name: 'Enter key' }).click()
    await give(second)
    await page.locator('#uploads').getByText('Not taken as a slide').waitFor()
    writeFileSync(join(folder, 'go'), '')
    await page.locator('#jobs li[data-state="succeeded"]').waitFor()
    await page.getByRole('button', { name: 'Open in QuPath' }).waitFor()
    await page.locator('#opacity').focus()
    await page.keyboard.press('Home')
    await drawn(page)
    said.shots = [await shoot(page, 'new-key')]
  },
}
