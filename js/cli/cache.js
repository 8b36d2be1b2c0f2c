import { cache } from '../cache.js'
import { cacheFolder } from '../download/node-store.js'
import { NibbleError } from '../errors.js'
import { JSON_OPTION, UsageError } from './options.js'
import { print, say, size } from './common.js'

/** @type {import('./options.js').Command} */
export default {
  summary: 'lists and deletes the models that were fetched from URLs and kept',
  usage: '[list | delete KEY… | path] [options]',
  details: 'Models are kept in $NIBBLE_CACHE, else in the folder for caches of this system. A download that was interrupted goes on when the model is named again.',
  positionals: [0, 100],
  options: { ...JSON_OPTION, all: { type: 'boolean', help: 'delete all' } },

  async run({ values, args: [what = 'list', ...keys] }) {
    if (what === 'delete') {
      if ((keys.length === 0) === !values.all) throw new UsageError('delete takes the keys that `nibble cache` lists, or --all')
      const deleted = []
      for (const key of values.all ? (await cache.list()).map(({ key }) => key) : keys) {
        if (!await cache.delete(key)) throw new NibbleError('E_ARGUMENT', `${key} is not kept; \`nibble cache\` lists what is`)
        deleted.push(key)
        if (!values.json) say(`deleted ${key}`)
      }
      return { deleted }
    }
    if (keys.length > 0 || values.all) throw new UsageError(`${what} takes no more words`)
    if (what === 'path') {
      if (!values.json) print(`${cacheFolder()}\n`)
      return { path: cacheFolder() }
    }
    if (what !== 'list') throw new UsageError(`there is no '${what}'; use list, delete or path`)
    const entries = await cache.list()
    if (!values.json) {
      for (const { key, bytes, total, complete } of entries) print(`${complete ? size(bytes).padStart(9) : `${size(bytes)} of ${total === undefined ? '?' : size(total)}`.padStart(9)}  ${key}\n`)
      if (entries.length === 0) say('nothing is kept')
    }
    return { entries }
  },
}
