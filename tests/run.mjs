/**
 * `npm test`: sets up what is missing, builds, and runs everything. `npm test -- c`, `js` or `browser` runs a part. Prints a summary and ends
 * with one line of counts.
 */
import { existsSync, readdirSync, readFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { build, cmake } from '../wasm/build.mjs'
import { chromium, currentNode, emscripten, firefox, nativeCompiler, npmPackages, simde, webkit } from '../wasm/setup.mjs'
import { root, runMain, runShown, say } from '../wasm/shell.mjs'

const PARTS = ['c', 'js', 'browser']

/** Of the quantizer, which take minutes: `npm test` runs them in one Node, and its relaxed modules in Chromium; `npm run test:js` in both. */
const QUANTIZER = /^(allocate|analyze|calibrated|calibration|convert|gguf-writer|hf-tokenizer|hostile-folder|imatrix|prune|quantize|report|validate)\./

/** @typedef {{name: string, passed: number, failed: number, skipped: number, seconds: number}} Result */
/** @type {Result[]} */
const results = []

/** @param {string} name @param {() => Promise<Omit<Result, 'name' | 'seconds'>>} work */
async function part(name, work) {
  say(name)
  const start = performance.now()
  const counts = await work()
  results.push({ name, ...counts, seconds: (performance.now() - start) / 1000 })
}

/**
 * Builds a preset and runs its C tests with ctest; the counts are those of its report.
 * @param {string} preset @param {NodeJS.ProcessEnv} env
 */
async function ctest(preset, env) {
  cmake(preset, { env })
  const report = join(root, 'build', preset, 'report.xml')
  const status = await runShown('ctest', ['--preset', preset, '-j', '2', '--output-junit', report], { env })
  const xml = existsSync(report) ? readFileSync(report, 'utf8') : ''
  const count = (/** @type {string} */ name) => Number(new RegExp(`<testsuite[^>]*\\b${name}="(\\d+)"`).exec(xml)?.[1] ?? 0)
  const total = count('tests'), skipped = count('skipped') + count('disabled')
  const failed = count('failures') || (status !== 0 ? 1 : 0) // a build of tests that cannot even start is a failure
  return { passed: Math.max(0, total - failed - skipped), failed, skipped }
}

/**
 * Runs a folder's test files with a Node; the counts are those it prints at its end.
 * @param {string} node @param {string} folder
 * @param {{concurrency?: number, env?: NodeJS.ProcessEnv, among?: {test: (name: string) => boolean}}} [options]
 *   concurrency: how many files at once (Node's own choice is one fewer than there are cores, which leaves one of two idle while files wait);
 *   among: of names of files
 */
async function nodeTest(node, folder, { concurrency = 2, env, among = /^/ } = {}) {
  const files = existsSync(join(root, folder)) ? readdirSync(join(root, folder)).filter((name) => name.endsWith('.test.js') && among.test(name)).sort().map((name) => join(folder, name)) : []
  if (files.length === 0) return { passed: 0, failed: 0, skipped: 0 }
  const counts = { pass: 0, fail: 0, cancelled: 0, skipped: 0, todo: 0 }
  const status = await runShown(node, [`--test-concurrency=${concurrency}`, '--test', '--test-reporter=spec', ...files], {
    env: { ...process.env, ...env },
    onLine: (line) => {
      const match = /^ℹ (pass|fail|cancelled|skipped|todo) (\d+)$/.exec(line.replace(/\x1b\[\d+m/g, ''))
      if (match) counts[/** @type {keyof typeof counts} */ (match[1])] = Number(match[2])
    },
  })
  const failed = counts.fail + counts.cancelled
  return { passed: counts.pass, failed: failed || (status !== 0 ? 1 : 0), skipped: counts.skipped + counts.todo }
}

await runMain(async () => {
  const wanted = process.argv.slice(2)
  const unknown = wanted.find((name) => !PARTS.includes(name))
  if (unknown) throw new (await import('../wasm/shell.mjs')).SetupError(`there is no part '${unknown}' of the tests: name c, js or browser, or nothing for all`)
  const runs = (/** @type {string} */ name) => wanted.length === 0 || wanted.includes(name)

  npmPackages()
  await build() // checks the types, too
  mkdirSync(join(root, 'build'), { recursive: true })
  if (runs('c')) {
    if (nativeCompiler()) {
      simde()
      await part('C tests, native with sanitizers', () => ctest('native-sanitize', process.env))
      await part('C tests, native', () => ctest('native-release', process.env))
    }
    const { env } = emscripten()
    await part('C tests in WebAssembly, strict SIMD', () => ctest('wasm-simd128', env))
    await part('C tests in WebAssembly, relaxed SIMD', () => ctest('wasm-relaxed', env))
  }
  if (runs('js')) {
    await part(`JavaScript tests, Node ${process.versions.node}`, () => nodeTest(process.execPath, 'tests/js'))
    const node = currentNode()
    if (node && node !== process.execPath) await part('JavaScript tests, current Node', () => nodeTest(node, 'tests/js', wanted.length === 0 ? { among: { test: (name) => !QUANTIZER.test(name) } } : {}))
  }
  if (runs('browser')) {
    if (wanted.length === 0) process.env.NIBBLE_SHORT = '1' // `npm run test:browser` runs all of them, and installs the other browsers
    const inEngine = (/** @type {string} */ name, /** @type {RegExp} */ among) =>
      part(`Tests in ${name}`, () => nodeTest(process.execPath, 'tests/browser', { concurrency: 1, env: { NIBBLE_ENGINES: name }, among }))
    if (chromium()) await inEngine('Chromium', /^/)
    if (firefox()) await inEngine('Firefox', /everywhere/)
    if (webkit()) await inEngine('WebKitGTK', /everywhere/)
  }

  const sum = (/** @type {'passed' | 'failed' | 'skipped'} */ key) => results.reduce((total, r) => total + r[key], 0)
  console.log('')
  for (const r of results) console.log(`${r.failed ? '✗' : '✓'} ${r.name}: ${r.passed} passed, ${r.failed} failed, ${r.skipped} skipped (${r.seconds.toFixed(0)} s)`)
  console.log(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`)
  if (sum('failed') || sum('passed') === 0) process.exitCode = 1
})
