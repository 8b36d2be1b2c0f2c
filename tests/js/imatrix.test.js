// Importance matrices of llama.cpp: both forms, made here byte by byte as its tools write them, and what is wrong with them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { legacyImatrix, memorySink, openCheckpoint, pair, readImatrix, valueOf, writeImatrix, GgufWriter } from '../../js/quantize/index.js'
import { importanceOf } from '../../js/quantize/imatrix.js'

const int = (/** @type {number} */ n) => [...new Uint8Array(Int32Array.of(n).buffer)]
const floats = (/** @type {number[]} */ ...values) => [...new Uint8Array(Float32Array.from(values).buffer)]
const text = (/** @type {string} */ s) => [...int(s.length), ...Buffer.from(s)]
const bytes = (/** @type {number[][]} */ ...parts) => Uint8Array.from(parts.flat())

/** @param {Record<string, [number[], number[]]>} tensors  shape and values @param {any[]} [pairs] */
async function gguf(tensors, pairs = [pair.string('general.type', 'imatrix'), pair.array('imatrix.datasets', 'string', ['a.txt', 'b.txt']), pair.u32('imatrix.chunk_count', 3), pair.u32('imatrix.chunk_size', 512)]) {
  const sink = memorySink(), writer = new GgufWriter(sink, { pairs, tensors: Object.entries(tensors).map(([name, [shape]]) => ({ name, type: 'F32', shape })) })
  for (const [name, [, values]] of Object.entries(tensors)) await writer.write(name, Uint8Array.from(floats(...values)))
  await writer.finish()
  return sink.bytes()
}

test('the GGUF form', async () => {
  const imatrix = await readImatrix(await gguf({ 'x.weight.in_sum2': [[3, 2], [2, 4, 6, 1, 1, 1]], 'x.weight.counts': [[1, 2], [2, 0]], 'x.weight.in_sum': [[3, 2], [-1, 0, 1, 0, 0, 0]], 'other': [[1], [7]] }))
  assert.deepEqual([imatrix.datasets, imatrix.chunks, imatrix.chunkSize, [...imatrix.entries.keys()]], [['a.txt', 'b.txt'], 3, 512, ['x.weight']])
  const entry = /** @type {any} */ (imatrix.entries.get('x.weight'))
  assert.deepEqual([...importanceOf(entry)], [1, 2, 3])
  assert.deepEqual([...importanceOf(entry, 1)], [1, 1, 1], 'what saw no input counts alike')
  assert.deepEqual([...entry.means], [-1, 0, 1, 0, 0, 0])
})

test('the older form, with and without what later versions put at its end', async () => {
  const entries = bytes(int(2), text('a.weight'), int(4), int(2), floats(8, 2), text('b.weight'), int(0), int(1), floats(5))
  const old = await readImatrix(entries), newer = await readImatrix(bytes([...entries], int(9), text('wiki.txt')))
  for (const { entries: found } of [old, newer]) {
    assert.deepEqual([...importanceOf(/** @type {any} */ (found.get('a.weight')))], [2, 0.5])
    assert.deepEqual([...importanceOf(/** @type {any} */ (found.get('b.weight')))], [1])
  }
  assert.deepEqual([old.datasets, old.chunks, newer.datasets, newer.chunks], [[], 0, ['wiki.txt'], 9])
})

test('what is written is read as it was, in both forms', async () => {
  const imatrix = {
    entries: new Map([['b.weight', { sums: Float32Array.of(512, 1024, 0), counts: Float32Array.of(1024) }], ['a.weight', { sums: Float32Array.of(3, 6), counts: Float32Array.of(512, 1024), means: Float32Array.of(-1, 1) }]]),
    datasets: ['calibration.txt'], chunks: 2, chunkSize: 512,
  }
  const sink = memorySink()
  await writeImatrix(sink, imatrix)
  const read = await readImatrix(await sink.bytes())
  assert.deepEqual(read, { ...imatrix, entries: new Map([...imatrix.entries].reverse()), file: 'the buffer' })
  const { pairs, tensors } = await openCheckpoint(await sink.bytes())
  assert.deepEqual(pairs.map((p) => [p.key, p.kind, valueOf(p)]), [['general.type', 8, 'imatrix'], ['imatrix.datasets', 9, ['calibration.txt']], ['imatrix.chunk_count', 4, 2], ['imatrix.chunk_size', 4, 512]])
  assert.deepEqual(tensors.map((t) => [t.name, t.shape]), [['a.weight.in_sum2', [1, 2]], ['a.weight.counts', [1, 2]], ['a.weight.in_sum', [1, 2]], ['b.weight.in_sum2', [3, 1]], ['b.weight.counts', [1, 1]]])
  const legacy = await readImatrix(legacyImatrix(imatrix))
  assert.deepEqual([...importanceOf(/** @type {any} */ (legacy.entries.get('b.weight')))], [0.5, 1, 0])
  assert.deepEqual([legacy.chunks, legacy.datasets, [...(legacy.entries.get('b.weight')?.counts ?? [])]], [2, ['calibration.txt'], [2]])
})

test('files that are none, are cut, or hold what cannot be are refused', async () => {
  const good = bytes(int(1), text('a.weight'), int(4), int(2), floats(8, 2), int(9), text('wiki.txt'))
  for (let n = 0; n < good.length; n++) {
    if (n === good.length - 16) continue // where its end was not written by older versions
    await assert.rejects(readImatrix(good.subarray(0, n)), { code: 'E_FORMAT' }, `${n} bytes`)
  }
  for (const bad of [
    bytes(int(-1), int(0)), bytes(int(0), int(0)), bytes(int(2 ** 30), int(0)), bytes(int(1), int(-5), floats(1, 1)), bytes(int(1), text('a'), int(1), int(0)),
    bytes(int(1), text('a'), int(1), int(2 ** 30), floats(1)), bytes(int(1), text('a'), int(1), int(1), floats(NaN)), bytes(int(1), text('a'), int(1), int(1), floats(-1)),
    bytes(int(1), text('a'), int(-1), int(1), floats(1)), bytes(int(1), text('a'), int(1), int(1), floats(Infinity)), bytes(int(2), ...[0, 1].map(() => [...text('a'), ...int(1), ...int(1), ...floats(1)])),
    await gguf({ 'x.in_sum2': [[2], [1, 1]] }), await gguf({ 'x.counts': [[1], [1]] }), await gguf({ 'x.in_sum2': [[3], [1, 1, 1]], 'x.counts': [[2], [1, 1]] }), await gguf({}),
    await gguf({ 'x.in_sum2': [[2], [1, NaN]], 'x.counts': [[1], [1]] }), await gguf({ 'x.in_sum2': [[2], [1, 1]], 'x.counts': [[1], [-1]] }),
    await gguf({ 'x.in_sum2': [[2], [1, 1]], 'x.counts': [[1], [1]] }, [pair.string('general.type', 'model')]), await gguf({ 'x.in_sum2': [[2], [1, 1]], 'x.counts': [[1], [1]] }, [pair.string('general.type', 'imatrix')]),
  ]) await assert.rejects(readImatrix(bad), { code: 'E_FORMAT', message: /importance matrix/ })
})
