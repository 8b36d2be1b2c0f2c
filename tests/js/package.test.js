// What users install: the package works in an empty project, has types, and is as small as it promises.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { tinyModel } from './tiny-model.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))

/** @type {string} */ let project
before(async () => {
  project = await mkdtemp(join(tmpdir(), 'nibble-package-'))
  // Without the script that builds: the tests run on what was built.
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], { cwd: root })
  await writeFile(join(project, 'package.json'), '{"type":"module","private":true}')
  await run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', `./${JSON.parse(stdout)[0].filename}`], { cwd: project })
  await writeFile(join(project, 'tiny.gguf'), /** @type {Uint8Array} */ (tinyModel({ n_layers: 1, n_vocab: 384 })))
})
after(() => rm(project, { recursive: true, force: true }))

test('import { load } from "nibble-llm" works in an empty project', async () => {
  await writeFile(join(project, 'main.js'), `
    import { load } from 'nibble-llm'
    const model = await load('tiny.gguf')
    const r = await model.chat.completions.create({ messages: [{ role: 'user', content: 'Hello' }], max_tokens: 4, seed: 1 })
    console.log(r.usage.completion_tokens > 0 && r.choices[0].message.role)
    await model.dispose()`)
  assert.equal((await run(process.execPath, ['main.js'], { cwd: project })).stdout, 'assistant\n')
})

test('import { quantize } from "nibble-llm/quantize" works in an empty project', async () => {
  await writeFile(join(project, 'half.gguf'), /** @type {Uint8Array} */ (tinyModel({ n_layers: 1, n_vocab: 384, type: 'F16' })))
  await writeFile(join(project, 'smaller.js'), `
    import { quantize } from 'nibble-llm/quantize'
    const { file_bytes } = await quantize('half.gguf', 'small.gguf', { type: 'Q4_0', method: 'rtn' })
    console.log(file_bytes)`)
  assert.equal((await run(process.execPath, ['smaller.js'], { cwd: project })).stdout, `${statSync(join(project, 'small.gguf')).size}\n`)
})

test('the command is there', async () => {
  const { stdout } = await run(join(project, 'node_modules/.bin/nibble'), ['run', 'tiny.gguf', 'Hello', '--max-tokens', '3', '--json'], { cwd: project })
  assert.ok(JSON.parse(stdout).tokens.length > 0)
})

test('types of the package check a strict TypeScript program', async () => {
  await writeFile(join(project, 'main.ts'), `
    import { load, estimate, NibbleError, type ModelInfo, type Source } from 'nibble-llm'
    import { NibbleChat } from 'nibble-llm/element'
    import { memorySink, quantize, type QuantizeResult } from 'nibble-llm/quantize'
    const sink = memorySink()
    const made: QuantizeResult = await quantize(new File([], 'x.gguf'), sink, { type: 'Q4_0', method: 'gptq', calibration: { text: '' }, onProgress: ({ done }) => console.log(done) })
    const file: Blob = sink.blob()
    console.log(made.tensors[0].error, file.size)
    const source: Source = new URL('https://example.com/model.gguf')
    const model = await load(source, { contextLength: 512, onProgress: ({ loaded, total }) => console.log(loaded, total ?? '?') })
    const info: ModelInfo = model.info
    const whole = await model.chat.completions.create({ messages: [{ role: 'user', content: info.name }], temperature: 0 })
    const text: string = whole.choices[0].message.content
    for await (const chunk of await model.chat.completions.create({ messages: [], stream: true })) console.log(chunk.choices[0]?.delta.content ?? '')
    const session = model.session({ system: text, contextLength: 512 })
    await session.append('Hello')
    const answer: string = (await session.generate({ max_tokens: 3 })).choices[0].message.content
    for await (const chunk of await session.generate({ stream: true })) console.log(answer, chunk.choices[0]?.delta.content ?? '')
    const saved: Uint8Array = await session.save()
    await (await session.clone()).restore(saved)
    const { left } = await session.measure({ role: 'user', content: text })
    console.log(left, whole.usage.prompt_tokens_details.cached_tokens)
    // @ts-expect-error an option that does not exist
    await model.completions.create({ prompt: text, temprature: 1 })
    const vectors = await model.embeddings.create({ input: ['a', 'b'], dimensions: 64 })
    const tokens: number = vectors.usage.total_tokens + vectors.data[0].index
    const element = document.querySelector('nibble-chat') as NibbleChat
    element.model = new File([], 'x.gguf')
    console.log(tokens, (await element.send('Hello'))?.content, element.messages.length, element.busy)
    try { await estimate(source) } catch (error) { if (error instanceof NibbleError) console.log(error.code satisfies string) }`)
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions: { strict: true, noEmit: true, target: 'es2022', module: 'nodenext', lib: ['es2023', 'dom', 'dom.asynciterable'], types: [] }, include: ['main.ts'] }))
  await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', project]).catch((error) => assert.fail(error.stdout))
})

test('sizes: each module at most 300 kB, the engine in a page with its chat templates at most 72 KiB, what fetches for it at most 40 KiB', (t) => {
  const size = (/** @type {string} */ name) => statSync(join(project, 'node_modules/nibble-llm/dist', name)).size
  for (const variant of ['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads']) {
    t.diagnostic(`nibble-${variant}.wasm: ${size(`nibble-${variant}.wasm`)} bytes`)
    assert.ok(size(`nibble-${variant}.wasm`) <= 300_000)
  }
  // One of the two is loaded: the engine in a worker, or on the page's own thread.
  for (const engine of ['worker', 'index']) {
    const bytes = size(`web/${engine}.js`) + size('web/template.js')
    t.diagnostic(`${engine}.js with template.js: ${bytes} bytes`)
    assert.ok(bytes <= 72 * 1024, `${bytes}`)
  }
  for (const name of ['fetch-worker.js', 'download.js']) {
    t.diagnostic(`${name}: ${size(`web/${name}`)} bytes`)
    assert.ok(size(`web/${name}`) <= 40 * 1024)
  }
})

test('sizes: <nibble-chat> at most 12 kB, without what it loads later', (t) => {
  const { size } = statSync(join(project, 'node_modules/nibble-llm/dist/web/element.js'))
  t.diagnostic(`element.js: ${size} bytes`)
  assert.ok(size <= 12_000)
})

test('sizes: the quantizer in a page at most 180 kB, with pruning, analysis and reports at most 240 kB, its modules at most 450 kB', (t) => {
  const size = (/** @type {string} */ name) => statSync(join(project, 'node_modules/nibble-llm/dist', name)).size
  for (const name of ['web/quantize.js', 'web/quantize-worker.js']) {
    t.diagnostic(`${name}: ${size(name)} bytes`)
    assert.ok(size(name) <= (name.includes('worker') ? 180_000 : 240_000))
  }
  for (const variant of ['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads']) assert.ok(size(`nibble-quantize-${variant}.wasm`) <= 450_000)
})

test('holds what it needs and nothing else', () => {
  const names = readdirSync(join(project, 'node_modules/nibble-llm'), { recursive: true }).map(String)
  for (const name of ['LICENSE', 'README.md', 'js/index.js', 'dist/types/js/index.d.ts']) assert.ok(names.includes(name), name)
  const odd = names.filter((name) => /(^|\/)(tests|src|wasm|node_modules)(\/|$)/.test(name))
  assert.deepEqual(odd, [])
  assert.deepEqual(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).dependencies ?? {}, {})
})
