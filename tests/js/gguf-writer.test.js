// Writing GGUF files: what is read is written again as it was, and what is wrong is refused.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openCheckpoint } from '../../js/quantize/checkpoint.js'
import { quantizeEngine } from '../../js/quantize/engine.js'
import { GgufWriter } from '../../js/quantize/gguf-writer.js'
import { fileSink } from '../../js/quantize/node.js'
import { KIND, lookUp, pair, valueOf, withPairs } from '../../js/quantize/pairs.js'
import { memorySink } from '../../js/quantize/sinks.js'
import { TYPE_NAMES, typeInfo } from '../../js/quantize/types.js'
import { tinyModel } from './tiny-model.js'
import { serve } from './server.js'

/** @type {string} */ let folder
before(async () => { folder = await mkdtemp(join(tmpdir(), 'nibble-writer-')) })
after(() => rm(folder, { recursive: true, force: true }))

/** Copies a checkpoint, in pieces and in an order of its own. @param {any} source */
async function rewrite(source) {
  const checkpoint = await openCheckpoint(source), sink = memorySink()
  const writer = new GgufWriter(sink, checkpoint)
  for (const tensor of checkpoint.tensors.toReversed()) {
    for (let at = 0; at < tensor.bytes; at += 10_001) await writer.write(tensor.name, await checkpoint.read(tensor, at, Math.min(10_001, tensor.bytes - at)))
  }
  await writer.finish()
  await checkpoint.close()
  return Buffer.from(await sink.bytes())
}

for (const [what, options] of Object.entries({
  'floats, qwen2': { arch: 'qwen2', type: 'F16' }, 'blocks of 256, llama': { type: 'Q6_K', vocab: 'spm', ropeFactors: true }, 'blocks of 32, tied': { type: 'Q5_1', tied: true },
})) {
  test(`a file written from its checkpoint is the same file: ${what}`, async () => {
    const bytes = Buffer.from(/** @type {Uint8Array} */ (tinyModel(/** @type {any} */ ({ ...options, n_layers: 1 }))))
    assert.ok((await rewrite(bytes)).equals(bytes))
  })
}

test('the embedded models are written as they are', async () => {
  const models = fileURLToPath(new URL('../../demo/model/', import.meta.url))
  const names = (await readdir(models)).filter((name) => name.endsWith('.gguf'))
  assert.ok(names.length > 0)
  for (const name of names) assert.ok((await rewrite(join(models, name))).equals(await readFile(join(models, name))), name)
})

test('every kind of pair comes back from the file as the value it was made of', async () => {
  const values = {
    u8: [0, 255], i8: [-128, 127], u16: [0, 65535], i16: [-32768, 32767], u32: [0, 2 ** 32 - 1], i32: [-(2 ** 31), 2 ** 31 - 1], u64: [0, 2n ** 64n - 1n, 2 ** 53 - 1],
    i64: [-(2n ** 63n), 2n ** 63n - 1n, -1], f32: [0.5, -Infinity, 3], f64: [Math.PI, -0], bool: [true, false], string: ['', 'ein Bär 🐻', '\ufeffx'],
  }
  /** @type {[import('../../js/quantize/pairs.js').Pair, unknown][]} */
  const made = Object.entries(values).flatMap(([kind, list]) => [
    ...list.map((value, i) => /** @type {any} */ ([pair[/** @type {'u8'} */ (kind)](`${kind}.${i}`, value), value])),
    [pair.array(`${kind}.list`, /** @type {'u8'} */ (kind), list), list], [pair.array(`${kind}.none`, /** @type {'u8'} */ (kind), []), []],
  ])
  const sink = memorySink()
  await new GgufWriter(sink, { pairs: made.map(([p]) => p), tensors: [] }).finish()
  const { pairs } = await openCheckpoint(await sink.bytes())
  assert.deepEqual(pairs, made.map(([p]) => p))
  assert.deepEqual(pairs.map(valueOf), made.map(([, value]) => value))
})

test('values that a kind does not hold are refused', () => {
  for (const make of [
    () => pair.u8('k', 256), () => pair.u32('k', -1), () => pair.i16('k', 40000), () => pair.u64('k', 2n ** 64n), () => pair.u32('k', 1.5), () => pair.f32('k', '1'),
    () => pair.bool('k', 1), () => pair.string('k', 7), () => pair.array('k', 'i32', [1, 'x']),
  ]) assert.throws(make, { code: 'E_ARGUMENT' })
})

test('pairs are changed by their keys, and the changed ones go to the end', () => {
  const pairs = [pair.u32('a', 1), pair.u32('b', 2), pair.u32('c', 3)]
  const changed = withPairs(pairs, [pair.string('a', 'new'), pair.u32('d', 4)], ['b', 'not there'])
  assert.deepEqual(changed.map((p) => [p.key, valueOf(p)]), [['c', 3], ['a', 'new'], ['d', 4]])
  assert.equal(lookUp(changed, 'b'), undefined)
})

test('another alignment is kept', async () => {
  const sink = memorySink(), writer = new GgufWriter(sink, {
    pairs: [pair.u32('general.alignment', 256)], tensors: [{ name: 'a', type: 'F32', shape: [3] }, { name: 'b', type: 'F16', shape: [5, 2] }],
  })
  await writer.write('b', new Uint8Array(20).fill(2))
  await writer.write('a', new Uint8Array(12).fill(1))
  await writer.finish()
  const bytes = await sink.bytes(), checkpoint = await openCheckpoint(bytes)
  assert.equal(bytes.length, 256 * 3)
  assert.deepEqual(checkpoint.tensors, [{ name: 'a', type: 'F32', shape: [3], bytes: 12 }, { name: 'b', type: 'F16', shape: [5, 2], bytes: 20 }])
  assert.deepEqual([...await checkpoint.read(checkpoint.tensors[1], 3, 2)], [2, 2])
})

test('the parts of a split model are written as one file', async () => {
  const parts = /** @type {Uint8Array[]} */ (tinyModel({ n_layers: 1, split: 3 }))
  await Promise.all(parts.map((bytes, i) => writeFile(join(folder, `m-0000${i + 1}-of-00003.gguf`), bytes)))
  const whole = Buffer.from(/** @type {Uint8Array} */ (tinyModel({ n_layers: 1 })))
  assert.ok((await rewrite(join(folder, 'm-00001-of-00003.gguf'))).equals(whole))
  assert.ok((await rewrite(parts)).equals(whole))
  await assert.rejects(openCheckpoint(join(folder, 'm-00002-of-00003.gguf')), { code: 'E_FORMAT', message: /part 2 of 3/ })
})

test('a checkpoint is read through a server that gives ranges, and one that does not is said to', async () => {
  const bytes = Buffer.from(/** @type {Uint8Array} */ (tinyModel({ n_layers: 1, n_vocab: 384 })))
  const server = await serve(async (request, response) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
    if (request.url === '/whole.gguf' || !range) return void response.end(bytes)
    const from = Number(range[1]), to = Math.min(Number(range[2]), bytes.length - 1)
    const etag = request.url === '/changing.gguf' ? `"${from}"` : '"a"'
    response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${bytes.length}`, etag }).end(bytes.subarray(from, to + 1))
  })
  try {
    assert.ok((await rewrite(`${server.url}ranges.gguf`)).equals(bytes))
    await assert.rejects(openCheckpoint(`${server.url}whole.gguf`), { code: 'E_NETWORK', message: /no ranges/ })
    await assert.rejects(rewrite(`${server.url}changing.gguf`), { code: 'E_CHANGED' })
  } finally {
    await server.close()
  }
})

test('files that are no models, or cut, are refused', async () => {
  const bytes = /** @type {Uint8Array} */ (tinyModel({ n_layers: 1, n_vocab: 384 }))
  await assert.rejects(openCheckpoint(bytes.subarray(0, 5000)), { code: 'E_TRUNCATED' })
  await assert.rejects(openCheckpoint(bytes.subarray(0, bytes.length - 100)), { code: 'E_TRUNCATED' })
  await assert.rejects(openCheckpoint(new Uint8Array(100)), { code: 'E_FORMAT', message: /not a GGUF file/ })
  await assert.rejects(openCheckpoint(join(folder, 'missing.gguf')), { code: 'E_ARGUMENT', message: /there is no file/ })
  await assert.rejects(openCheckpoint(folder), { code: 'E_ARGUMENT' })
  await assert.rejects(openCheckpoint(new Response('x').body ?? ''), { code: 'E_ARGUMENT', message: /by ranges/ })
})

test('a writer takes what it was promised, no more and no less', async () => {
  const tensors = [{ name: 'a', type: 'Q4_0', shape: [64, 2] }]
  const make = () => new GgufWriter(memorySink(), { pairs: [], tensors })
  await assert.rejects(make().finish(), { code: 'E_ARGUMENT', message: /a is not complete: 0 of 72/ })
  await assert.rejects(make().write('b', new Uint8Array(1)), { code: 'E_ARGUMENT' })
  await assert.rejects(make().write('a', new Uint8Array(73)), { code: 'E_ARGUMENT', message: /too many/ })
  for (const content of [
    { pairs: [pair.u8('x', 1), pair.u8('x', 1)], tensors }, { pairs: [], tensors: [...tensors, ...tensors] }, { pairs: [], tensors: [{ name: 'a', type: 'Q4_K', shape: [64] }] },
    { pairs: [], tensors: [{ name: 'a', type: 'F32', shape: [] }] }, { pairs: [], tensors: [{ name: 'a', type: 'F32', shape: [2, 0] }] },
    { pairs: [], tensors: [{ name: 'a', type: 'Q9', shape: [2] }] }, { pairs: [pair.u32('general.alignment', 33)], tensors },
  ]) assert.throws(() => new GgufWriter(memorySink(), content), { code: 'E_ARGUMENT' })
})

test('a file appears when it is complete, and an aborted one leaves nothing', async () => {
  const path = join(folder, 'out.gguf'), tensors = [{ name: 'a', type: 'F32', shape: [4] }]
  const sink = await fileSink(path), writer = new GgufWriter(sink, { pairs: [], tensors })
  await writer.write('a', new Uint8Array(16))
  assert.ok(!existsSync(path) && existsSync(`${path}.part`))
  await writer.finish()
  assert.ok(!existsSync(`${path}.part`))
  assert.equal(readFileSync(path).length, writer.size)
  const again = await fileSink(path)
  await new GgufWriter(again, { pairs: [], tensors }).write('a', new Uint8Array(16).fill(1))
  await again.abort()
  assert.ok(!existsSync(`${path}.part`))
  assert.equal(readFileSync(path).length, writer.size)
  await assert.rejects(fileSink(join(folder, 'none', 'out.gguf')), { code: 'E_ARGUMENT', message: /folder/ })
})

test('a suspended file is found again with its journal, without a line that was cut', async () => {
  const path = join(folder, 'later.gguf'), first = await fileSink(path)
  assert.deepEqual(await first.journal.lines(), [])
  await first.journal.restart()
  await first.write(Uint8Array.of(1, 2, 3), 10)
  await first.journal.append('one')
  await first.journal.append('two')
  await first.suspend()
  await writeFile(`${path}.part.jsonl`, 'thr', { flag: 'a' })
  const second = await fileSink(path)
  assert.deepEqual(await second.journal.lines(), ['one', 'two'])
  await second.journal.append('three')
  assert.deepEqual(await second.journal.lines(), ['one', 'two', 'three'])
  assert.deepEqual([...await second.read(11, 5)], [2, 3])
  await second.commit(13)
  assert.deepEqual((await readdir(folder)).filter((name) => name.startsWith('later')), ['later.gguf'])
})

test('types have the numbers and blocks that the engine knows', async () => {
  const engine = await quantizeEngine({ threads: 1 })
  for (const name of TYPE_NAMES) assert.equal(engine.heap.cstring(engine.ptr('nbw_type_name', typeInfo(name).id)), name)
  // The sizes: the header of a file with a tensor of each type is checked by the library.
  const tensors = TYPE_NAMES.map((type) => ({ name: type, type, shape: [256, 2] }))
  const sink = memorySink(), writer = new GgufWriter(sink, { pairs: [], tensors })
  for (const { name, bytes } of writer.places.values()) await writer.write(name, new Uint8Array(bytes))
  await writer.finish()
  const checkpoint = await openCheckpoint(await sink.bytes(), { engine })
  assert.deepEqual(checkpoint.tensors.map(({ name, bytes }) => [name, bytes]), [...writer.places.values()].map(({ name, bytes }) => [name, bytes]))
  assert.equal(KIND.array, 9)
  engine.close()
})
