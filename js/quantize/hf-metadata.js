/**
 * What a Hugging Face folder tells of a model besides its weights and tokenizer: name, licence, recommended sampling, chat templates.
 */
import { NibbleError } from '../errors.js'
import { isObject, own, readJson, readText } from './folder.js'
import { pair } from './pairs.js'

/** @typedef {import('./folder.js').Folder} Folder @typedef {import('./pairs.js').Pair} Pair */

/** A number of parameters as people write it: 1.2B, 135M. @param {number} n */
export function sizeLabel(n) {
  const [unit, letter] = n >= 1e12 ? [1e12, 'T'] : n >= 1e9 ? [1e9, 'B'] : n >= 1e6 ? [1e6, 'M'] : [1e3, 'K']
  const value = n / unit
  return `${value.toFixed(Math.round(value) < 10 ? 1 : 0)}${letter}`
}

/**
 * Single values and lists of the YAML at the beginning of a README.md. Of YAML only what model cards use for them: `key: value`, `- item` below a key, [a, b].
 * @param {string} text
 * @returns {Map<string, string | string[]>}
 */
export function frontMatter(text) {
  /** @type {Map<string, string | string[]>} */
  const values = new Map()
  const lines = text.replace(/^\ufeff/, '').split(/\r?\n/)
  if (lines[0].trim() !== '---') return values
  const end = lines.indexOf('---', 1)
  const bare = (/** @type {string} */ s) => s.trim().replace(/^(['"])([^]*)\1$/, '$2')
  let list = /** @type {string[] | undefined} */ (undefined)
  for (const line of lines.slice(1, Math.max(1, end))) {
    const item = /^\s*-\s+(.*)$/.exec(line), field = /^(\w+):\s*(.*)$/.exec(line)
    if (item && list && !/^\w+:\s/.test(item[1])) list.push(bare(item[1]))
    else if (field) {
      const [, key, value] = field
      list = undefined
      if (value === '') values.set(key, list = [])
      else if (/^\[.*\]$/.test(value)) values.set(key, value.slice(1, -1).split(',').map(bare).filter((s) => s !== ''))
      else if (!/^[|>&*{]/.test(value)) values.set(key, bare(value))
    }
  }
  return values
}

/** @param {Folder} folder @param {number} parameters @param {string} arch @returns {Promise<Pair[]>} */
export async function general(folder, parameters, arch) {
  /** @type {Map<string, string | string[]>} */
  let card = new Map()
  if (folder.files.has('README.md')) card = frontMatter(await readText(folder, 'README.md').catch(() => '')) // written for people: not worth failing for
  const text = (/** @type {string} */ key) => { const value = card.get(key); return typeof value === 'string' ? value : Array.isArray(value) && value.length === 1 ? value[0] : undefined }
  const list = (/** @type {string} */ key) => { const value = card.get(key); return Array.isArray(value) ? value : value ? [value] : [] }
  const name = text('model_name') ?? folder.name.replaceAll(/[-_]+/g, ' ').trim()
  const pairs = [pair.string('general.architecture', arch), pair.string('general.type', 'model'), pair.string('general.name', name), pair.string('general.size_label', sizeLabel(parameters))]
  for (const [key, to] of [['license', 'license'], ['license_name', 'license.name'], ['license_link', 'license.link']]) {
    const value = text(key)
    if (value) pairs.push(pair.string(`general.${to}`, value))
  }
  for (const [key, to] of [['tags', 'tags'], ['language', 'languages']]) {
    const values = list(key)
    if (values.length > 0) pairs.push(pair.array(`general.${to}`, 'string', values))
  }
  return pairs
}

/** generation_config.json -> general.sampling.*, with the kinds that llama.cpp's converter gives them. @type {[string, string, 'f32' | 'i32'][]} */
const SAMPLING = [['temperature', 'temp', 'f32'], ['top_k', 'top_k', 'i32'], ['top_p', 'top_p', 'f32'], ['min_p', 'min_p', 'f32'], ['repetition_penalty', 'penalty_repeat', 'f32']]

/** @param {Record<string, unknown> | undefined} generation @returns {Pair[]} */
export function sampling(generation) {
  if (!generation || own(generation, 'do_sample') === false) return []
  return SAMPLING.flatMap(([from, to, kind]) => {
    const value = own(generation, from)
    if (value === undefined || value === null) return []
    if (typeof value !== 'number' || !(value >= 0 && value <= 1e6) || (kind === 'i32' && !Number.isInteger(value))) throw new NibbleError('E_FORMAT', `generation_config.json: ${from} is ${JSON.stringify(value).slice(0, 40)}, no usable number`)
    return [pair[kind](`general.sampling.${to}`, value)]
  })
}

/**
 * The chat templates: chat_template.jinja, or what tokenizer_config.json or chat_template.json hold (a text, or a list of named ones).
 * @param {Folder} folder @param {string[]} notes @returns {Promise<Pair[]>}
 */
export async function chatTemplates(folder, notes) {
  /** @type {Map<string, string>} */
  const templates = new Map()
  for (const file of ['chat_template.json', 'tokenizer_config.json']) { // the later one counts
    const config = await readJson(folder, file), given = config && own(config, 'chat_template')
    if (given === undefined || given === null) continue
    for (const entry of Array.isArray(given) ? given : [{ name: 'default', template: given }]) {
      if (!isObject(entry) || typeof entry.name !== 'string' || typeof entry.template !== 'string') throw new NibbleError('E_FORMAT', `${file}: chat_template must be a text, or a list of {name, template}`)
      templates.set(entry.name, entry.template)
    }
  }
  if (folder.files.has('chat_template.jinja')) templates.set('default', await readText(folder, 'chat_template.jinja'))
  for (const file of folder.files) {
    const name = /^additional_chat_templates\/(.+)\.jinja$/.exec(file)?.[1]
    if (name) templates.set(name, await readText(folder, file))
  }
  const named = [...templates].filter(([name]) => name !== 'default').filter(([name]) => {
    if (!/^\w{1,64}$/.test(name)) notes.push(`the chat template named ${JSON.stringify(name.slice(0, 80))} is left out: its name cannot be part of a key`)
    return /^\w{1,64}$/.test(name)
  })
  const main = templates.get('default')
  return [
    ...(named.length > 0 ? [pair.array('tokenizer.chat_templates', 'string', named.map(([name]) => name)), ...named.map(([name, text]) => pair.string(`tokenizer.chat_template.${name}`, text))] : []),
    ...(main === undefined ? [] : [pair.string('tokenizer.chat_template', main)]),
  ]
}
