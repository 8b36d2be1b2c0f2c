/**
 * Bundles the browser's side into dist/web:
 *
 *   client.js   `nibble-llm/web`: the engine in a worker
 *   worker.js   that worker
 *   fetch-worker.js  the one that fetches for it, and keeps models
 *   index.js    `nibble-llm` for browsers: the engine on the thread that imports it
 *   template.js chat templates; these two read it with a model that has one
 *   quantize.js `nibble-llm/quantize`, for workers of pages
 *   download.js what index.js needs to keep models
 *   team.js     starting threads, read where they can be had, and thread.js, the program of each
 *   quantize-client.js  `nibble-llm/web/quantize`: the quantizer in a worker, quantize-worker.js
 *
 * and, for the page: index.html, main.js, style.css, icon.svg, licenses.txt (of libraries in main.js), the .wasm files and the embedded model, so that the folder is a site as it stands. The package
 * leaves these out; there the .wasm files are one folder up, where Node looks for them, too.
 */
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
      ...['web/client.js', 'web/worker.js', 'web/fetch-worker.js', 'js/index.js', 'js/template.js', 'js/team.js', 'js/thread.js', 'web/quantize-client.js', 'web/quantize-worker.js', 'demo/main.js'].map((path) => ({ in: path, out: basename(path, '.js') })),
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
    plugins: [browserPlatform],
    legalComments: 'none',
    charset: 'utf8',
    logLevel: 'warning',
    metafile: true,
  })
  for (const name of ['worker.js', 'index.js', 'quantize-worker.js', 'quantize.js']) keepComments(join(out, name))
  for (const name of ['index.html', 'icon.svg']) copyFileSync(join(root, 'demo', name), join(out, name))
  for (const name of readdirSync(join(root, 'dist')).filter((name) => name.endsWith('.wasm'))) copyFileSync(join(root, 'dist', name), join(out, name))
  copyFileSync(EMBEDDED, join(out, basename(EMBEDDED)))
  writeFileSync(join(out, 'licenses.txt'), LIBRARIES.map(licence).join('\n\n'))
  for (const [path, { bytes, imports }] of Object.entries(metafile.outputs)) {
    if (imports.length > 0) throw new Error(`${path} imports ${imports.map((i) => i.path).join(', ')}`)
    say(`${path}: ${(bytes / 1000).toFixed(1)} kB`)
  }
}
