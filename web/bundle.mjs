/**
 * Bundles the browser's side into dist/web:
 *
 *   client.js   `nibble-llm/web`: the engine in a worker
 *   worker.js   that worker
 *   element.js  `nibble-llm/element`: <nibble-chat>, which imports client.js when it loads a model
 *   fetch-worker.js  the one that fetches for it, and keeps models
 *   index.js    `nibble-llm` for browsers: the engine on the thread that imports it
 *   template.js chat templates; these two read it with a model that has one
 *   quantize.js `nibble-llm/quantize`, for workers of pages
 *   download.js what index.js needs to keep models
 *   team.js     starting threads, read where they can be had, and thread.js, the program of each
 *   quantize-client.js  `nibble-llm/web/quantize`: the quantizer in a worker, quantize-worker.js
 *
 * and, for the page: index.html, main.js, style.css, icons, its manifest, licenses.txt (of libraries in main.js), sw.js (its service worker), the .wasm files and the embedded model, so that the folder is a site as it stands. The package
 * leaves these out; there the .wasm files are one folder up, where Node looks for them, too.
 */
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { EMBEDDED } from '../js/cli/common.js'
import { root, say } from '../wasm/shell.mjs'

/** What is about every place; browsers get their own. @type {Record<string, string>} */
const PLATFORMS = { 'js/platform.js': 'web/platform.js', 'js/quantize/platform.js': 'web/quantize-platform.js' }
/** @type {import('esbuild').Plugin} */
const browserPlatform = {
  name: 'platform',
  setup(build) {
    build.onResolve({ filter: /\/platform\.js$/ }, ({ path, resolveDir }) => {
      const own = PLATFORMS[relative(root, join(resolveDir, path)).replaceAll('\\', '/')]
      return own === undefined ? undefined : { path: join(root, own) }
    })
  },
}

/** The element waits with client.js until it needs it, and leaves it to the bundlers of users, which then find the worker, too. @type {import('esbuild').Plugin} */
const laterClient = {
  name: 'later',
  setup(build) {
    build.onResolve({ filter: /^\.\/client\.js$/ }, ({ kind, path }) => (kind === 'dynamic-import' ? { path, external: true } : undefined))
  },
}

/** Comments for the bundlers of users at the imports of web/platform.js; here, because minifying removes them. @param {string} file */
function keepComments(file) {
  const text = readFileSync(file, 'utf8')
  /** @type {string[]} */
  const found = []
  const marked = text.replace(/import\((?=new URL\("\.\/(template|team|download)\.js")/g, (_, name) => {
    found.push(name)
    return 'import(/* @vite-ignore *//* webpackIgnore: true */'
  })
  if (!/^(download,)?team,template$/.test(found.sort().join())) throw new Error(`${file} does not import template.js and team.js`)
  writeFileSync(file, marked)
}

/** What the page is made of: kept by its service worker at once, or when it is used. */
const EARLY = /^(main|worker|fetch-worker|template|team|thread)\.js$|^style\.css$|^icon.*\.(svg|png)$|^manifest|^licenses\.txt$|^nibble-(simd128|relaxed)(-threads)?\.wasm$/
const LATE = /^quantize-worker\.js$|^nibble-quantize-.*\.wasm$/

/** The page's service worker, told every file by its hash; the page is told which version it is. @param {string} out */
async function serviceWorker(out) {
  const esbuild = await import('esbuild')
  const hash = (/** @type {string | Buffer} */ data) => createHash('sha256').update(data).digest('base64')
  const hashes = (/** @type {RegExp} */ wanted) => Object.fromEntries(readdirSync(out).filter((name) => wanted.test(name)).map((name) => [name, hash(readFileSync(join(out, name)))]))
  const early = hashes(EARLY), late = hashes(LATE), index = join(out, 'index.html'), html = readFileSync(index, 'utf8')
  const version = hash(JSON.stringify([early, late, html, readFileSync(join(root, 'demo/sw.js'), 'utf8')])).replace(/\W/g, '').slice(0, 12)
  if (!html.includes('<html lang="en">')) throw new Error('demo/index.html has no place for its version')
  writeFileSync(index, html.replace('<html lang="en">', `<html lang="en" data-build="${version}">`))
  await esbuild.build({
    absWorkingDir: root, entryPoints: ['demo/sw.js'], outfile: join(out, 'sw.js'), bundle: true, minify: true, format: 'iife', target: 'es2022', charset: 'utf8',
    define: { NIBBLE_BUILD: JSON.stringify({ version, early, late }) },
  })
}

/** What main.js contains of others. */
const LIBRARIES = ['idb', 'marked']
/** @param {string} name  of a package */
function licence(name) {
  const folder = join(root, 'node_modules', name), file = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file))
  if (!file) throw new Error(`${folder} holds no licence`)
  return `${name}\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`
}

export async function bundle() {
  const esbuild = await import('esbuild')
  const out = join(root, 'dist/web')
  rmSync(out, { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  const { metafile } = await esbuild.build({
    absWorkingDir: root,
    entryPoints: [
      ...['web/client.js', 'web/worker.js', 'web/fetch-worker.js', 'web/element.js', 'js/index.js', 'js/template.js', 'js/team.js', 'js/thread.js', 'web/quantize-client.js', 'web/quantize-worker.js', 'demo/main.js'].map((path) => ({ in: path, out: basename(path, '.js') })),
      { in: 'js/quantize/index.js', out: 'quantize' },
      { in: 'web/cache/index.js', out: 'download' },
      { in: 'demo/style.css', out: 'style' },
    ],
    outdir: 'dist/web',
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    plugins: [browserPlatform, laterClient],
    legalComments: 'none',
    charset: 'utf8',
    logLevel: 'warning',
    metafile: true,
  })
  for (const name of ['worker.js', 'index.js', 'quantize-worker.js', 'quantize.js']) keepComments(join(out, name))
  for (const name of ['index.html', 'icon.svg', 'manifest.webmanifest', 'icon-192.png', 'icon-512.png', 'icon-maskable-512.png']) copyFileSync(join(root, 'demo', name), join(out, name))
  for (const name of readdirSync(join(root, 'dist')).filter((name) => name.endsWith('.wasm'))) copyFileSync(join(root, 'dist', name), join(out, name))
  copyFileSync(EMBEDDED, join(out, basename(EMBEDDED)))
  writeFileSync(join(out, 'licenses.txt'), LIBRARIES.map(licence).join('\n\n'))
  await serviceWorker(out)
  for (const [path, { bytes, imports }] of Object.entries(metafile.outputs)) {
    if (imports.some((i) => i.path !== './client.js' || basename(path) !== 'element.js')) throw new Error(`${path} imports ${imports.map((i) => i.path).join(', ')}`)
    say(`${path}: ${(bytes / 1000).toFixed(1)} kB`)
  }
}
