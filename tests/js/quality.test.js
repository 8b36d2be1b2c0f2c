// What `npm run quality` concludes from its rows.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checks } from '../bench/quality_checks.mjs'

/** @param {string} by @param {string} method @param {string} type @param {number} kld @param {object} [more] */
const row = (by, method, type, kld, more) => /** @type {import('../bench/quality.mjs').Row} */ ({ by, method, type, kld, file: '', bytes: 1e6, bpw: 4.5, ppl: 8, kld_error: 0, top1: 1, seconds: 1, ...more })
/** The one conclusion that says this. @param {import('../bench/quality.mjs').Row[]} rows @param {RegExp} what */
function conclusion(rows, what) {
  const found = checks(rows).filter(({ text }) => what.test(text))
  assert.equal(found.length, 1, checks(rows).map(({ text }) => text).join('\n'))
  return found[0].passed
}

test('a method passes if it diverges less than the one below it, and not if as much', () => {
  const rows = (/** @type {number} */ gptq) => [row('Nibble', 'rtn', 'Q4_0', 0.03), row('Nibble', 'search, text', 'Q4_0', 0.02), row('Nibble', 'gptq', 'Q4_0', gptq)]
  assert.equal(conclusion(rows(0.01), /^Q4_0: gptq .* 0\.01000 and 0\.02000/), true)
  assert.equal(conclusion(rows(0.02), /^Q4_0: gptq/), false)
  assert.equal(conclusion(rows(0.01), /^Q4_0: the search/), true)
})

test('a file is only compared with llama.cpp\'s of its type, and fails if it is larger', () => {
  const rows = (/** @type {number} */ bytes) => [row('llama.cpp', 'its own', 'Q4_0', 0.03), row('llama.cpp', 'its own', 'Q8_0', 0.0001), row('Nibble', 'search', 'Q4_0', 0.02, { bytes })]
  assert.equal(conclusion(rows(1e6), /search diverges less than llama\.cpp/), true)
  assert.equal(checks(rows(1e6)).length, 1)
  assert.equal(conclusion(rows(1.01e6), /1010000 bytes, and llama\.cpp's file has 1000000/), false)
})

test('a mix may diverge as much as the next larger type, but no more', () => {
  const rows = (/** @type {number} */ kld) => [row('Nibble', 'gptq', 'mix of 4.5 bits', kld), row('Nibble', 'gptq', 'Q4_1 alone', 0.02)]
  assert.equal(conclusion(rows(0.02), /no more than Q4_1/), true)
  assert.equal(conclusion(rows(0.021), /no more than Q4_1/), false)
})

test('llama.cpp may prefer another token only where none leads, and must load every file', () => {
  const rows = (/** @type {object} */ native) => [row('Nibble', 'rtn', 'Q4_0', 0.02, { native })]
  assert.equal(conclusion(rows({ compared: 192, other: [{ position: 3, margin: 0.02 }] }), /finds the same token/), true)
  assert.equal(conclusion(rows({ compared: 192, other: [{ position: 3, margin: 0.5 }] }), /not of Q4_0 rtn/), false)
  assert.equal(conclusion(rows({ why: 'llama.cpp does not load it' }), /not of Q4_0 rtn/), false)
})
