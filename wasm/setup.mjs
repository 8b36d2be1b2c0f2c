/**
 * Brings what the build and the tests need, and nothing that is there already: an Emscripten, Ninja, the npm packages, and for the tests a C
 * compiler, SIMDe, a current Node and Chromium. Everything of its own goes into .toolchain/; delete that folder to begin anew.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { downloadFrom, KEYRING, missingTool, unpack, unpackOwn } from './apt.mjs'
import { root, run, runMain, say, SetupError, which } from './shell.mjs'

const toolchain = join(root, '.toolchain')
const OLDEST = [3, 1, 61] // the first with the final relaxed-SIMD instructions

// ---- Emscripten -----------------------------------------------------------------------------------------------------------------

/** Debian 13's packages that make up Emscripten 3.1.69 and what it runs on. */
const PACKAGES = ['emscripten', 'binaryen', 'clang-19', 'lld-19', 'llvm-19', 'llvm-19-linker-tools', 'libclang-cpp19', 'libllvm19', 'libclang1-19',
  'libclang-common-19-dev', 'libc6', 'libstdc++6', 'libgcc-s1', 'zlib1g', 'libzstd1', 'libedit2', 'libxml2', 'libicu76', 'libz3-4', 'libffi8', 'libtinfo6', 'libbsd0',
  'libmd0', 'libpfm4', 'liblzma5', 'libcurl4t64', 'node-acorn', 'patchelf']
/** Parts of these packages that the build does not touch: two thirds of their size. */
const LEFT_OUT = ['*/wasm32-emscripten/pic', '*/wasm32-emscripten/lto-pic', './usr/share/emscripten/test', './usr/share/emscripten/docs', './usr/share/emscripten/media',
  './usr/share/doc', './usr/share/man', './usr/lib/*/gconv']

const ARCHITECTURES = {
  amd64: { triple: 'x86_64-linux-gnu', loader: 'ld-linux-x86-64.so.2' },
  arm64: { triple: 'aarch64-linux-gnu', loader: 'ld-linux-aarch64.so.1' },
}

const OWN_ADVICE = 'Install Emscripten 3.1.61 or newer (https://emscripten.org) and put emcc on the PATH or set EMSDK, then run this again.'

/**
 * The Emscripten of the machine, where it has one that is new enough.
 * @returns {{folder: string, env: NodeJS.ProcessEnv, version: string} | undefined}
 */
function findEmscripten() {
  const candidates = [process.env.EMSDK && join(process.env.EMSDK, 'upstream/emscripten/emcc'), which('emcc')]
  for (const emcc of candidates) {
    if (!emcc || !existsSync(emcc)) continue
    const r = spawnSync(emcc, ['--version'], { encoding: 'utf8' })
    const version = /\b(\d+)\.(\d+)\.(\d+)\b/.exec(r.stdout ?? '')
    if (!version) continue
    const parts = version.slice(1).map(Number)
    const order = parts.map((n, i) => n - OLDEST[i]).find((d) => d !== 0) ?? 0
    const folder = dirname(realpathSync(emcc))
    if (order < 0) say(`the emcc on this machine is ${version[0]}, older than ${OLDEST.join('.')}: not used`)
    else if (existsSync(join(folder, 'cmake/Modules/Platform/Emscripten.cmake'))) return { folder, env: {}, version: version[0] }
  }
  return undefined
}

/** @param {string} folder */
function ownEmscripten(folder) {
  return { folder: join(folder, 'usr/share/emscripten'), env: { EM_CONFIG: join(folder, 'config.py') }, version: '3.1.69' }
}

/** Unpacks Debian 13's Emscripten into .toolchain/emscripten, without touching the system and without root. */
function installEmscripten() {
  const target = join(toolchain, 'emscripten')
  const stamp = join(target, 'complete')
  const packages = createHash('sha256').update(JSON.stringify([PACKAGES, LEFT_OUT, process.arch, 4])).digest('hex')
  const [had, place] = existsSync(stamp) ? readFileSync(stamp, 'utf8').split('\n') : []
  if (had !== packages || place !== target) {
    const architecture = architectureHere()
    if (had === packages) say('this folder was moved: preparing its Emscripten again')
    else downloadEmscripten(target)
    rmSync(stamp, { force: true }) // what is interrupted now begins anew
    prepareEmscripten(target, architecture)
    writeFileSync(stamp, `${packages}\n${target}`)
  }
  writeConfiguration(target)
  return ownEmscripten(target)
}

function architectureHere() {
  const missing = which('python3') ? missingTool() : 'python3'
  if (missing) throw new SetupError(`there is no emcc, and without ${missing} none can be set up here. ${OWN_ADVICE}`)
  if (!existsSync(KEYRING)) throw new SetupError(`there is no emcc, and this is not Debian (${KEYRING} is missing), so none can be set up here. ${OWN_ADVICE}`)
  const machine = run('dpkg', ['--print-architecture'], { fail: 'the architecture of this machine cannot be told' }).trim()
  const architecture = ARCHITECTURES[/** @type {keyof typeof ARCHITECTURES} */ (machine)]
  if (!architecture) throw new SetupError(`Emscripten can be set up by itself on amd64 and arm64 only, not on ${machine}. ${OWN_ADVICE}`)
  return architecture
}

/** @param {string} target  gets the packages' files, which are then at their final place */
function downloadEmscripten(target) {
  say('setting up Emscripten 3.1.69 in .toolchain/emscripten (once; about 350 MB from this machine\'s Debian mirror, unpacked 1 GB)')
  const work = `${target}.part`, apt = join(work, 'apt')
  for (const folder of [target, work]) rmSync(folder, { recursive: true, force: true })
  mkdirSync(apt, { recursive: true })
  downloadFrom('trixie', PACKAGES, apt, (what) => say(`… ${what}`))
  say('… unpacking')
  unpack(apt, work, LEFT_OUT)
  rmSync(apt, { recursive: true })
  renameSync(work, target)
}

/** Makes the unpacked programs run where they are. @param {string} target @param {{triple: string, loader: string}} architecture */
function prepareEmscripten(target, architecture) {
  usePrivateLoader(target, architecture)
  const folder = join(target, 'usr/share/emscripten'), acorn = join(folder, 'node_modules/acorn')
  mkdirSync(dirname(acorn), { recursive: true })
  rmSync(acorn, { force: true })
  symlinkSync('../../nodejs/acorn', acorn)
  rmSync(join(folder, 'cache/sanity.txt'), { force: true }) // it names the place; where it is another one, emcc would clear its prebuilt libraries
  // emcc is a link into /usr; CMake's support file calls it by this name.
  for (const tool of ['emcc', 'em++', 'emar', 'emranlib', 'emnm']) {
    rmSync(join(folder, tool), { force: true })
    writeFileSync(join(folder, tool), `#!/bin/sh\nexec python3 "$(dirname "$0")/${tool}.py" "$@"\n`, { mode: 0o755 })
  }
}

/** Writes emcc's configuration, which names this Node: another one may be in its place tomorrow. @param {string} target */
function writeConfiguration(target) {
  const file = join(target, 'config.py')
  const text = [
    `LLVM_ROOT = ${JSON.stringify(join(target, 'usr/lib/llvm-19/bin'))}`, `BINARYEN_ROOT = ${JSON.stringify(join(target, 'usr'))}`,
    `NODE_JS = ${JSON.stringify(process.execPath)}`, `CACHE = ${JSON.stringify(join(target, 'usr/share/emscripten/cache'))}`, ''].join('\n')
  if (!existsSync(file) || readFileSync(file, 'utf8') !== text) writeFileSync(file, text)
}

/**
 * These programs want a newer C library than the machine's: they are told to use the one unpacked beside them.
 * @param {string} target @param {{triple: string, loader: string}} architecture
 */
function usePrivateLoader(target, { triple, loader }) {
  const libraries = join(target, 'usr/lib', triple), llvm = join(target, 'usr/lib/llvm-19')
  const interpreter = join(libraries, loader)
  const patchelf = (/** @type {string[]} */ ...args) =>
    run(interpreter, ['--library-path', libraries, join(target, 'usr/bin/patchelf'), ...args], { fail: 'the unpacked compiler cannot be prepared' })
  const rpath = `${libraries}:${join(llvm, 'lib')}`
  const place = ['--force-rpath', '--set-rpath', rpath] // the older kind of path, which holds for the libraries of libraries, too
  const programs = new Set([...['clang-19', 'clang', 'lld', 'wasm-ld', 'llvm-ar', 'llvm-nm', 'llvm-objcopy', 'llvm-ranlib'].map((p) => join(llvm, 'bin', p)),
    ...['wasm-opt', 'wasm-emscripten-finalize', 'wasm-metadce'].map((p) => join(target, 'usr/bin', p))].filter(existsSync).map((p) => realpathSync(p)))
  for (const program of programs) patchelf('--set-interpreter', interpreter, ...place, program)
  const shared = new Set([libraries, join(llvm, 'lib')].flatMap((folder) => existsSync(folder) ? readdirSync(folder).filter((name) => /^lib(LLVM|clang-cpp|binaryen)[-.].*so/.test(name)).map((name) => join(folder, name)) : [])
    .filter(existsSync).map((p) => realpathSync(p)))
  for (const library of shared) patchelf(...place, library)
}

/**
 * Environment for cmake and emcc.
 * @returns {{env: NodeJS.ProcessEnv, version: string}}
 */
export function emscripten() {
  const found = findEmscripten() ?? installEmscripten()
  return { version: found.version, env: { ...process.env, ...found.env, NIBBLE_EMSCRIPTEN: found.folder } }
}

// ---- npm packages -----------------------------------------------------------------------------------------------------------------

/** npm's own patience with a network that is not there is minutes without a word. */
const NPM_PATIENCE = ['--fetch-retry-mintimeout=2000', '--fetch-retry-maxtimeout=8000']

/** Installs package-lock.json's packages where node_modules is missing or older. */
export function npmPackages() {
  const installed = join(root, 'node_modules/.package-lock.json')
  const lock = join(root, 'package-lock.json')
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return
  say('installing the npm packages of package-lock.json')
  // Install scripts of dependencies do not run: none is needed.
  run('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts', ...NPM_PATIENCE], { fail: 'the npm packages cannot be installed; is the network there?' })
}

// ---- Ninja ------------------------------------------------------------------------------------------------------------------------

/**
 * The program with which CMake builds: the machine's Ninja or make, or Debian's Ninja unpacked into .toolchain/ninja.
 * @returns {{generator: string, program: string}}
 */
export function buildProgram() {
  const ninja = which('ninja'), make = which('make')
  if (ninja) return { generator: 'Ninja', program: ninja }
  if (make) return { generator: 'Unix Makefiles', program: make }
  const folder = join(toolchain, 'ninja'), program = join(folder, 'usr/bin/ninja')
  if (!existsSync(program)) {
    if (missingTool()) throw new SetupError('neither ninja nor make is there; install one of them, then run this again')
    say('unpacking Ninja (Debian\'s ninja-build) into .toolchain/ninja')
    unpackOwn('ninja-build', folder)
  }
  return { generator: 'Ninja', program }
}

// ---- for the tests ------------------------------------------------------------------------------------------------------------------

const asRoot = () => process.getuid?.() === 0 && which('apt-get') !== undefined
let listsRead = false

/** Installs Debian packages on the system, as root only. @param {string[]} names @param {string} why */
function debian(names, why) {
  say(`installing Debian's ${names.join(', ')}: ${why}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  if (!listsRead) run('apt-get', ['update'], { env, fail: 'apt-get update fails; is the network there?' })
  listsRead = true
  run('apt-get', ['install', '-y', '--no-install-recommends', ...names], { env, fail: `apt-get install ${names.join(' ')} fails` })
}

/** The C compiler for native tests, or undefined with a sentence. */
export function nativeCompiler() {
  const find = () => which('cc') ?? which('gcc') ?? which('clang')
  if (!find() && asRoot()) debian(['gcc', 'libc6-dev'], 'the native C tests need a compiler')
  if (!find()) say('no C compiler: native C tests are skipped (as root: apt-get install gcc libc6-dev)')
  return find()
}

/** SIMDe's headers, with which the SIMD kernels are tested natively: the system's, or Debian's unpacked into .toolchain/simde. */
export function simde() {
  const folder = join(toolchain, 'simde')
  if (existsSync('/usr/include/simde/wasm/simd128.h') || existsSync(join(folder, 'usr/include/simde/wasm/simd128.h'))) return
  if (missingTool()) return say('no SIMDe: native tests cover the scalar kernels only (install its headers, in Debian libsimde-dev)')
  say('unpacking SIMDe\'s headers (Debian\'s libsimde-dev) into .toolchain/simde')
  try {
    unpackOwn('libsimde-dev', folder)
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    say(`${error.message}: native tests cover the scalar kernels only`)
  }
}

/**
 * A current Node beside the one that runs this: from the npm registry, in .toolchain/node. Of the current ones it is 24, which needs no library
 * that a fresh Debian lacks (later ones want libatomic).
 * @returns {string | undefined} the path of its program
 */
export function currentNode() {
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath
  const folder = join(toolchain, 'node'), name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const program = join(folder, 'node_modules', name, 'bin/node')
  const runs = () => spawnSync(program, ['--version']).status === 0
  if (runs()) return program
  say(`installing a current Node (npm package ${name}) into .toolchain/node`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{"private":true}\n')
  const r = spawnSync('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--no-package-lock', ...NPM_PATIENCE, `${name}@24`], { cwd: folder, encoding: 'utf8' })
  if (r.status === 0 && runs()) return program
  say('a current Node cannot be installed (is the network there?): the tests run on this one only')
  return undefined
}

/** Chromium for the browser tests, or undefined with a sentence. */
export function chromium() {
  const find = () => [process.env.CHROMIUM, which('chromium'), which('chromium-browser'), which('google-chrome')].find((p) => p && existsSync(p))
  if (!find() && asRoot() && existsSync('/etc/debian_version')) debian(['chromium'], 'the browser tests drive it')
  if (!find()) say('no Chromium: browser tests are skipped (as root: apt-get install chromium; or set CHROMIUM to its path)')
  return find()
}

/** `npm test` runs the short part of the browser tests: it installs no further browsers. */
const isShort = () => process.env.NIBBLE_SHORT === '1'

/** Firefox for the tests in other engines, or undefined with a sentence. */
export function firefox() {
  const find = () => [process.env.FIREFOX, which('firefox-esr'), which('firefox')].find((p) => p && existsSync(p))
  if (!isShort() && !find() && asRoot() && existsSync('/etc/debian_version')) debian(['firefox-esr'], 'tests run in it, too')
  if (!find()) say('no Firefox: its tests are skipped (`npm run test:browser` as root installs it, or apt-get install firefox-esr, or set FIREFOX to its path)')
  return find()
}

/**
 * WebKitGTK for the tests in other engines, or undefined with a sentence: the program that takes commands, the browser it starts, and a display without
 * a screen, which that one needs.
 * @returns {{driver: string, browser: string, display: string} | undefined}
 */
export function webkit() {
  const find = () => {
    const driver = which('WebKitWebDriver'), display = which('Xvfb')
    const browser = [process.env.MINIBROWSER, ...readdirSync('/usr/lib').flatMap((folder) => ['4.1', '4.0'].map((version) => `/usr/lib/${folder}/webkit2gtk-${version}/MiniBrowser`))].find((p) => p && existsSync(p))
    return driver && browser && display ? { driver, browser, display } : undefined
  }
  if (process.platform === 'linux') {
    if (!isShort() && !find() && asRoot() && existsSync('/etc/debian_version')) debian(['webkit2gtk-driver', 'xvfb'], 'tests run in WebKitGTK, too')
    const found = find()
    if (found) return found
  }
  say('no WebKitGTK: its tests are skipped (`npm run test:browser` as root installs it, or apt-get install webkit2gtk-driver xvfb)')
  return undefined
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runMain(async () => {
    npmPackages()
    say(`Emscripten ${emscripten().version} is ready`)
  })
}
