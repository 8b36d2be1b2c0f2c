/** One start of Nibble in this Node: node start_child.mjs MODEL THREADS. Prints JSON. */
import { openSync, readSync } from 'node:fs'

const [file, threads] = process.argv.slice(2)
const reading = performance.now()
const fd = openSync(file, 'r'), piece = new Uint8Array(1 << 20)
while (readSync(fd, piece) > 0);
const start = performance.now()
const { load } = await import('../../js/index.js')
const model = await load(file, { threads: Number(threads), contextLength: 512 })
await model.completions.create({ prompt: [5], max_tokens: 1, temperature: 0 })
const end = performance.now()
console.log(JSON.stringify({ read_s: (start - reading) / 1000, load_s: model.load_s, first_s: (end - start) / 1000 }))
await model.dispose()
