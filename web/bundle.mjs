/**
 * Bundles the browser's side into dist/web:
 *
 *   client.js   `nibble-llm/web`: the engine in a worker
 *   worker.js   that worker
 *   index.js    `nibble-llm` for browsers: the engine on the thread that imports it
 *
 * and, for the page: index.html, main.js, style.css, icon.svg and the .wasm files, so that the folder is a site as it stands. The package
 * leaves these out; there the .wasm files are one folder up, where Node looks for them, too.
 */
import { copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root, say } from '../wasm/shell.mjs'

/** js/platform.js is about every place; browsers get their own. @type {import('esbuild').Plugin} */
const browserPlatform = {
  name: 'platform',
  setup(build) {
    build.onResolve({ filter: /\/platform\.js$/ }, ({ resolveDir }) => (resolveDir === join(root, 'js') ? { path: join(root, 'web/platform.js') } : undefined))
  },
}

export async function bundle() {
  const esbuild = await import('esbuild')
  const out = join(root, 'dist/web')
  rmSync(out, { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  const { metafile } = await esbuild.build({
    absWorkingDir: root,
    entryPoints: ['web/client.js', 'web/worker.js', 'js/index.js', 'demo/main.js'].map((path) => ({ in: path, out: path.replace(/^.*\/(\w+)\.js$/, '$1') })),
    outdir: 'dist/web',
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    plugins: [browserPlatform],
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
  })
  for (const name of ['index.html', 'style.css', 'icon.svg']) copyFileSync(join(root, 'demo', name), join(out, name))
  for (const name of readdirSync(join(root, 'dist')).filter((name) => name.endsWith('.wasm'))) copyFileSync(join(root, 'dist', name), join(out, name))
  for (const [path, { bytes, inputs, imports }] of Object.entries(metafile.outputs)) {
    if (imports.length > 0) throw new Error(`${path} imports ${imports.map((i) => i.path).join(', ')}`)
    const jinja = Object.entries(inputs).find(([input]) => input.includes('@huggingface/jinja'))?.[1].bytesInOutput ?? 0
    say(`${path}: ${(bytes / 1000).toFixed(1)} kB${jinja ? ` (${(jinja / 1000).toFixed(1)} kB of it are Jinja)` : ''}`)
  }
}
