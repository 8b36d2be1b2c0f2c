/** A process that downloads, to be killed: node download-child.js FOLDER URL CHUNK SEGMENT. Says 'done' at its end. */
import { openKept } from '../../js/download/index.js'
import { nodeStore } from '../../js/download/node-store.js'

const [folder, url, chunk, segment] = process.argv.slice(2)
const part = await openKept(new URL(url), {
  store: nodeStore(folder), key: url, fetch, conditional: true, limits: { chunk: Number(chunk), segment: Number(segment), delay: 5 },
})
while (await part?.next());
await part?.accept()
await part?.close()
console.log('done')
