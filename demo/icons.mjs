/**
 * Draws the page's icons in PNG from icon.svg, with Chromium: node demo/icons.mjs
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { chromium as driver } from 'playwright-core'
import { chromium } from '../wasm/setup.mjs'

const at = (/** @type {string} */ name) => new URL(name, import.meta.url)
const svg = `data:image/svg+xml;base64,${readFileSync(at('icon.svg')).toString('base64')}`
const browser = await driver.launch({ executablePath: chromium(), args: ['--no-sandbox', '--disable-gpu'] })
const page = await browser.newPage()
// Systems cut maskable icons to shapes of their own: what matters lies within the middle 80 %.
for (const [name, size, part, background] of /** @type {const} */ ([['icon-192.png', 192, 1, 'transparent'], ['icon-512.png', 512, 1, 'transparent'], ['icon-maskable-512.png', 512, 0.66, '#f6f5f1']])) {
  await page.setViewportSize({ width: size, height: size })
  await page.setContent(`<body style="margin:0;display:grid;place-items:center;height:100vh;background:${background}"><img src="${svg}" width="${Math.round(size * part)}"></body>`)
  writeFileSync(at(name), await page.screenshot({ omitBackground: true }))
}
await browser.close()
