// The page of a report, opened from a file as people do: nothing is asked of a network, its own policy is not broken, and it fits a phone.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { perplexity } from '../../js/evaluate.js'
import { load } from '../../js/index.js'
import { checkGates } from '../../js/quantize/gates.js'
import { reportHtml } from '../../js/quantize/report.js'
import { tinyModel } from '../js/tiny-model.js'
import { openPage } from './browser.js'

/** @type {string} */ let folder
/** @type {string} */ let url
before(async () => {
  const text = 'The quick brown fox jumps over the lazy dog. '.repeat(40)
  const [model, against] = await Promise.all([1, 2].map((seed) => load(/** @type {Uint8Array} */ (tinyModel({ n_layers: 1, vocab: 'spm', seed })))))
  const validation = await perplexity(model, text, { n_ctx: 64, chunks: 2, against, worst: 20, loops: 2 })
  await Promise.all([model.dispose(), against.dispose()])
  const tensors = Array.from({ length: 224 }, (_, i) => ({
    name: `blk.${Math.floor(i / 7)}.${['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'][i % 7]}.weight`, type: 'Q4_K', from: 'F16', shape: [256, 256], bytes: 36864, bits: 4.5,
    method: 'search', relative_error: 0.001 * (1 + i % 5), sensitivity: 0.01 * (1 + i % 11),
  }))
  folder = await mkdtemp(join(tmpdir(), 'nibble-report-page-'))
  const file = join(folder, 'report.html')
  await writeFile(file, await reportHtml([{
    kind: 'nibble-quantize-report', version: 1, input: { name: 'original-with-a-name-that-is-rather-long-F16.gguf', bytes: 1e7, sha256: 'ab'.repeat(32) }, output: { name: 'a.gguf', bytes: 3e6 },
    options: { type: 'Q4_K_M' }, tensors, validation, gates: checkGates(validation, { kld: 0.03, loops: 10 }), warnings: ['<img src="https://example.com/x.png" onerror="alert(1)">'],
  }]))
  url = String(pathToFileURL(file))
})
after(() => rm(folder, { recursive: true }))

for (const [width, colorScheme] of /** @type {[number, 'light' | 'dark'][]} */ ([[1200, 'light'], [360, 'dark']])) {
  test(`opens by itself, ${width} pixels wide, ${colorScheme}`, async () => {
    const { page, complaints, requests, close } = await openPage({ path: 'empty', context: { viewport: { width, height: 800 }, colorScheme } })
    requests.length = 0
    await page.goto(url)
    assert.deepEqual(complaints, [])
    assert.deepEqual(requests, [url])
    assert.deepEqual(await page.locator('tbody .badge').allTextContents(), ['✗ FAIL', '✓ PASS'])
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width)
    const [ground, ink] = await page.evaluate(() => [document.body, document.querySelector('svg text')].map((el, i) => getComputedStyle(/** @type {Element} */ (el))[i ? 'fill' : 'backgroundColor']))
    const light = (/** @type {string} */ colour) => Number(/\d+/.exec(colour)?.[0]) > 128
    assert.deepEqual([light(ground), light(ink)], colorScheme === 'light' ? [true, false] : [false, true])
    // Labels of the axes lie within their plots.
    const outside = await page.evaluate(() => [...document.querySelectorAll('svg text')].filter((text) => {
      const own = text.getBoundingClientRect(), plot = /** @type {Element} */ (text.closest('svg')).getBoundingClientRect()
      return own.left < plot.left - 1 || own.right > plot.right + 1 || own.bottom > plot.bottom + 2
    }).map((text) => text.textContent))
    assert.deepEqual(outside, [])
    await close()
  })
}
