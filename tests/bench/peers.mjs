/** What Nibble is compared with: installed on first use, beside this file and not into the project. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { say } from '../../wasm/shell.mjs'

const here = dirname(fileURLToPath(import.meta.url))
export const modules = join(here, 'node_modules')
/** @type {Record<string, string>} */
const wanted = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8')).dependencies

/** node-llama-cpp's package with the native library for this machine: its own choice would be all of them, 800 MB. */
const PLATFORMS = /** @type {Record<string, string>} */ ({ 'linux-x64': 'linux-x64', 'linux-arm64': 'linux-arm64', 'darwin-arm64': 'mac-arm64-metal', 'darwin-x64': 'mac-x64', 'win32-x64': 'win-x64' })
const platform = PLATFORMS[`${process.platform}-${process.arch}`]

/** Whether a package is there, in its version. @param {string} name @param {string} version */
function has(name, version) {
  const file = join(modules, name, 'package.json')
  return existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).version === version
}

/**
 * Installs what is missing.
 * @param {boolean} install  false: only says what is missing
 * @returns {{native?: string, wllama?: string}} why a peer cannot run; nothing where it can
 */
export function installPeers(install = true) {
  const packages = { ...wanted, ...(platform && { [`@node-llama-cpp/${platform}`]: wanted['node-llama-cpp'] }) }
  const absent = () => Object.entries(packages).filter(([name, version]) => !has(name, version)).map(([name]) => name)
  let why = 'is not installed; npm run bench does it'
  if (install && absent().length > 0) {
    say(`installing ${absent().join(', ')} into tests/bench/node_modules (once; about 100 MB)`)
    // Install scripts would build llama.cpp; optional packages are those of all other platforms.
    const r = spawnSync('npm', ['install', '--ignore-scripts', '--omit=optional', '--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--fetch-retry-mintimeout=2000',
      '--fetch-retry-maxtimeout=8000', ...Object.entries(packages).map(([name, version]) => `${name}@${version}`)], { cwd: here, encoding: 'utf8' })
    if (r.status !== 0) {
      const words = (r.stderr ?? '').split('\n').find((line) => /npm (error|ERR!) (?!code\b)/.test(line))?.replace(/^npm (error|ERR!) /, '')
      why = `cannot be installed: ${words ?? r.error?.message ?? 'npm fails'}`
    }
  }
  const still = new Set(absent())
  return {
    ...(still.has('@wllama/wllama') && { wllama: `@wllama/wllama ${why}` }),
    ...(!platform ? { native: `node-llama-cpp has no library for ${process.platform} on ${process.arch}` }
      : (still.has('node-llama-cpp') || still.has(`@node-llama-cpp/${platform}`)) && { native: `node-llama-cpp ${why}` }),
  }
}
