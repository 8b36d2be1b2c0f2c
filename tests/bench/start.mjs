/**
 * The way from a file to the first token: node tests/bench/start.mjs MODEL.gguf [ROUNDS]
 *
 * In Node and in Chromium, one thread and two, each time in a process or browser of its own, the file in the system's cache: seconds to read
 * the file alone (1 MB at a time), to load the model, and from before the library is imported to the first token of a prompt of one token.
 * In Chromium the file is one that the page keeps (OPFS).
 */
import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { runMain, SetupError } from '../../wasm/shell.mjs'
import { chromium } from '../../wasm/setup.mjs'
import { startInChromium } from './browser.mjs'
import { median } from './figures.mjs'
import { output } from './process.mjs'

const child = fileURLToPath(new URL('start_child.mjs', import.meta.url))

await runMain(async () => {
  const [file, rounds = '5'] = process.argv.slice(2)
  if (file === undefined) throw new SetupError('name a model: node tests/bench/start.mjs MODEL.gguf [ROUNDS]')
  const browser = chromium()
  /** @type {Record<string, import('./browser.mjs').Start[]>} */
  const all = {}
  for (let round = 0; round < Number(rounds); round++) {
    for (const threads of [1, 2]) {
      (all[`Node, ${threads}`] ??= []).push(JSON.parse(await output(process.execPath, [child, file, String(threads)])))
      if (browser) (all[`Chromium, ${threads}`] ??= []).push(await startInChromium(browser, file, threads))
    }
  }
  console.log(`${file}: ${(statSync(file).size / 1e6).toFixed(0)} MB, seconds, medians of ${rounds}\n\n| | read | load | to the first token |\n|---|---|---|---|`)
  for (const [name, runs] of Object.entries(all)) {
    const of = (/** @type {'read_s' | 'load_s' | 'first_s'} */ key) => median(runs.map((r) => r[key])).toFixed(3)
    console.log(`| ${name} | ${of('read_s')} | ${of('load_s')} | ${of('first_s')} |`)
  }
})
