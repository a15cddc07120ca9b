// Opens the page of the interface in Chromium, lets it reach nothing but its own server, and says as JSON what it shows.
//
//   node interface.mjs <address of the page> <folder for a profile> <key>

import { join } from 'node:path'
import { chromium } from 'playwright-core'

const [, , address, folder, key] = process.argv
const { origin } = new URL(address)
const said = { complaints: [], elsewhere: [], operations: [], tried: [] }
const args = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const options = { executablePath: process.env.CHROMIUM, headless: true, args }
const context = await chromium.launchPersistentContext(join(folder, 'profile'), options)
context.setDefaultTimeout(60_000)
await context.route('**/*', (route) => {
  const { href, origin: asked, protocol } = new URL(route.request().url())
  if (asked === origin || ['data:', 'blob:'].includes(protocol)) return route.continue()
  said.elsewhere.push(href)
  return route.abort()
})
const page = await context.newPage()
page.on('console', (message) => {
  if (['error', 'warning'].includes(message.type())) said.complaints.push(message.text())
})
page.on('pageerror', (error) => said.complaints.push(String(error)))
await page.goto(address)
await page.locator('.opblock').first().waitFor()
said.operations = await page.locator('.opblock').evaluateAll((blocks) =>
  blocks.map((block) => {
    const [method, path] = ['.opblock-summary-method', '.opblock-summary-path'].map((part) => block.querySelector(part))
    return `${method.textContent.trim()} ${path.dataset.path}`
  }),
)
for (const name of ['upload_slide_form', 'submit_job', 'get_result']) {
  const block = page.locator(`.opblock[id$="-${name}"]`)
  await block.locator('.opblock-summary-control').click()
  await block.locator('.responses-wrapper .responses-table').waitFor()
}
said.unrendered = await page.getByText('Could not render').count()

await page.getByRole('button', { name: 'Authorize' }).first().click()
await page.locator('.auth-container').filter({ hasText: 'X-API-Key' }).locator('input').fill(key)
await page.locator('.auth-container').filter({ hasText: 'X-API-Key' }).getByRole('button', { name: 'Apply credentials' }).click()
await page.getByRole('button', { name: 'Close' }).first().click()
for (const name of ['healthz', 'list_models']) {
  const block = page.locator(`.opblock[id$="-${name}"]`)
  await block.locator('.opblock-summary-control').click()
  await block.getByRole('button', { name: 'Try it out' }).click()
  await block.getByRole('button', { name: 'Execute' }).click()
  said.tried.push(await block.locator('.live-responses-table .response-col_status').nth(1).innerText())
}
said.within = await page.locator('#within').textContent()
await page.screenshot({ path: join(folder, 'interface.png') })
await context.close()
console.log(JSON.stringify(said))
