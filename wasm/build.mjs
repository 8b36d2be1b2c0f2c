/**
 * `npm run build`: sets up what is missing and builds dist/: the WebAssembly modules, the browser bundles and the type declarations.
 * Quick when nothing has changed.
 */
import { chmodSync, copyFileSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildProgram, emscripten, npmPackages } from './setup.mjs'
import { root, run, runMain, say, SetupError, which } from './shell.mjs'

const VARIANTS = ['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads']

/** What a variant is built into: the engine, and the engine with the quantizer. @param {string} variant */
const modulesOf = (variant) => [`nibble-${variant}.wasm`, `nibble-quantize-${variant}.wasm`]

/** All files below folders of the project, with their times. @param {string[]} places @returns {string} */
function fingerprint(places) {
  const hash = createHash('sha256')
  const visit = (/** @type {string} */ path) => {
    const info = statSync(path)
    if (info.isDirectory()) for (const name of readdirSync(path).sort().filter((name) => name !== 'node_modules')) visit(join(path, name)) // the examples may have some
    else hash.update(`${path}\0`).update(readFileSync(path)).update('\0')
  }
  for (const place of places) if (existsSync(join(root, place))) visit(join(root, place))
  return hash.digest('hex')
}

/**
 * Does work unless its inputs are those of the last time and its outputs are there.
 * @param {string} name @param {string[]} inputs @param {string[]} outputs @param {() => void | Promise<void>} work
 */
async function step(name, inputs, outputs, work) {
  const stamp = join(root, 'build', `${name}.stamp`)
  const now = fingerprint(inputs)
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === now && outputs.every((o) => existsSync(join(root, o)))) return
  await work()
  mkdirSync(join(root, 'build'), { recursive: true })
  writeFileSync(stamp, now)
}

/**
 * Configures and builds one of the presets.
 * @param {string} preset @param {{env?: NodeJS.ProcessEnv, targets?: string[]}} [options]  targets: default all
 */
export function cmake(preset, { env = process.env, targets = [] } = {}) {
  if (!which('cmake')) throw new SetupError('cmake is missing; install it (Debian: apt-get install cmake)')
  const { generator, program } = buildProgram()
  const folder = join(root, 'build', preset), cache = join(folder, 'CMakeCache.txt')
  if (existsSync(cache) && !usable(readFileSync(cache, 'utf8'), generator, env)) rmSync(folder, { recursive: true })
  const settings = [`-DCMAKE_MAKE_PROGRAM=${program}`, ...(preset.startsWith('wasm') ? [`-DNB_NODE=${process.execPath}`] : [])]
  run('cmake', ['--preset', preset, '-G', generator, ...settings], { env, fail: `configuring ${preset} failed` })
  run('cmake', ['--build', '--preset', preset, '-j', '2', ...(targets.length ? ['--target', ...targets] : [])], { env, fail: `building ${preset} failed` })
}

/**
 * Whether a build folder can be used again: made by this generator, at this place, with an Emscripten or a compiler that is still there.
 * @param {string} cache  its CMakeCache.txt @param {string} generator @param {NodeJS.ProcessEnv} env
 */
function usable(cache, generator, env) {
  const value = (/** @type {string} */ name) => new RegExp(`^${name}:\\w+=(.*)$`, 'm').exec(cache)?.[1]
  const emscripten = value('NIBBLE_EMSCRIPTEN'), compiler = value('CMAKE_C_COMPILER')
  return value('CMAKE_GENERATOR') === generator && value('CMAKE_HOME_DIRECTORY') === root
    && (emscripten === undefined || emscripten === env.NIBBLE_EMSCRIPTEN) && (compiler === undefined || !compiler.startsWith('/') || existsSync(compiler))
}

/** Makes `npx nibble` work in the clone, as it does where the package is installed. */
function linkCommand() {
  const link = join(root, 'node_modules/.bin/nibble')
  if (!existsSync(join(root, 'js/cli.js'))) return
  if (!(statSync(join(root, 'js/cli.js')).mode & 0o111)) chmodSync(join(root, 'js/cli.js'), 0o755)
  try {
    if (lstatSync(link)) return
  } catch {}
  mkdirSync(join(root, 'node_modules/.bin'), { recursive: true })
  symlinkSync('../../js/cli.js', link)
}

/** Sets up and builds what is not up to date. */
export async function build() {
  npmPackages()
  const wasmInputs = ['src', 'wasm', 'CMakeLists.txt', 'CMakePresets.json']
  await step('wasm', wasmInputs, VARIANTS.flatMap((v) => modulesOf(v).map((name) => `dist/${name}`)), () => {
    const { env, version } = emscripten()
    for (const variant of VARIANTS) {
      say(`building ${modulesOf(variant).map((name) => `dist/${name}`).join(', ')} with Emscripten ${version}`)
      cmake(`wasm-${variant}`, { env, targets: ['nibble-wasm', 'nibble-quantize-wasm'] })
      mkdirSync(join(root, 'dist'), { recursive: true })
      for (const name of modulesOf(variant)) copyFileSync(join(root, `build/wasm-${variant}`, name), join(root, 'dist', name))
    }
  })
  const bundler = join(root, 'web/bundle.mjs')
  if (existsSync(bundler)) {
    await step('web', ['web', 'js', 'demo', 'package-lock.json', ...VARIANTS.flatMap(modulesOf).map((name) => `dist/${name}`)], ['dist/web'], async () => {
      say('bundling the browser files into dist/web')
      await (await import(bundler)).bundle()
    })
  }
  await step('types', ['js', 'web', 'package-lock.json'], ['dist/types/js/index.d.ts'], () => {
    say('writing the type declarations into dist/types')
    run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'js/tsconfig.json'], { fail: 'the types do not check' })
  })
  linkCommand()
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runMain(async () => {
    await build()
    for (const name of VARIANTS.flatMap(modulesOf)) say(`dist/${name}: ${(statSync(join(root, 'dist', name)).size / 1000).toFixed(0)} kB`)
    say('built; try `npx nibble --help`, or `npm start` for the page')
  })
}
