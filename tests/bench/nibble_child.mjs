/** One measurement of Nibble in this Node: node nibble_child.mjs MODEL TASK, the task as JSON (see measure.js). Prints JSON. */
import { load } from '../../js/index.js'
import { measure } from './measure.js'
import { resident, sentence } from './process.mjs'

const [file, task] = process.argv.slice(2)
const before = resident('self')
try {
  const speed = await measure(load, file, JSON.parse(task))
  console.log(JSON.stringify({ ...speed, program: `Node ${process.versions.node}`, memory: { before: before?.now, peak: resident('self')?.peak } }))
} catch (error) {
  console.error(sentence(error))
  process.exitCode = 1
}
