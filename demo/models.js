/**
 * The model that answers, and the dialog with all that are at hand: loading with progress, pausing, keeping, deleting.
 */
import { NibbleError, cache, estimate, load } from '../web/client.js'
import { keptFiles } from '../web/quantize-client.js'
import { button, element } from './nodes.js'
import { save } from './quantize.js'
import { kept } from './settings.js'
import { bytes, duration, failure } from './words.js'

/**
 * @typedef {import('../web/client.js').Model} Model
 *
 * @typedef {object} Choice  a model to open, and how it is found again at the next visit
 * @property {import('../web/client.js').Source} source
 * @property {string} name
 * @property {'address' | 'file' | 'local' | 'made'} kind  `local`: kept in the cache by hand; `made`: by the quantizer
 * @property {string} [key]  of the cache, or the name of the file that was made
 * @property {import('./quantize.js').Made} [made]
 * @property {boolean} [fleeting]  not to be kept: its server is on this machine, and has other files under this name at other times
 * @typedef {Pick<Awaited<ReturnType<typeof cache.list>>[number], 'key' | 'name' | 'bytes' | 'total' | 'complete'>} Entry
 *
 * @typedef {object} Page
 * @property {{wasm: URL, workerUrl?: any}} options  of load()
 * @property {string} given  the address of the model that the page opens by itself; '': none
 * @property {boolean} fleeting  whether that is not to be kept
 * @property {() => void} onChange  of the model or of what is loading
 * @property {() => void} stop  the answer under way
 * @property {(error: unknown) => void} showError  @property {() => void} hideError
 * @property {(text: string) => void} announce
 * @property {(source: any, name: string) => void} offer  to make smaller what is not quantized
 */

/** Bits per weight from which on all weights are floats. */
const FLOATS = 16

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id)
const fileName = (/** @type {string} */ path) => path.replace(/[?#].*$/, '').replace(/^.*\//, '') || path

/** Bytes per second over the last seconds. */
function speedometer() {
  /** @type {[number, number][]} */
  const points = []
  return (/** @type {number} */ loaded) => {
    const now = performance.now()
    points.push([now, loaded])
    while (points.length > 2 && now - points[0][0] > 3000) points.shift()
    const [at, was] = points[0]
    return now - at > 200 ? (loaded - was) / (now - at) * 1000 : 0
  }
}

export class Models {
  /** @param {Page} page */
  constructor(page) {
    this.page = page
    /** @type {Model | undefined} */
    this.model = undefined
    /** Where it came from. @type {Choice | undefined} */
    this.origin = undefined
    /** What is on its way. @type {{choice: Choice, controller: AbortController, paused: boolean} | undefined} */
    this.loading = undefined
    this.failed = false
    /** Those who wait for a model. @type {Set<() => void>} */
    this.waiting = new Set()
    /** Why the file in use was not kept. */
    this.notKept = ''
    $('pause').addEventListener('click', () => this.pause())
    $('resume').addEventListener('click', () => this.loading && void this.open(this.loading.choice))
    $('cancel-download').addEventListener('click', () => this.cancel())
    $('persist').addEventListener('click', async () => {
      const granted = await cache.persist()
      this.page.announce(granted ? 'The browser keeps the models until you delete them' : 'The browser did not agree')
      void this.showStorage(granted ? '' : ' The browser did not agree to keep it for good.')
    })
    $('models').addEventListener('close', () => this.place())
    $('models-close').addEventListener('click', () => $('models').close())
  }

  get state() {
    return this.loading ? 'loading' : this.model ? 'ready' : this.failed ? 'failed' : 'none'
  }

  changed() {
    document.body.dataset.model = this.state
    $('download').hidden = !this.loading
    for (const wake of this.waiting) wake()
    this.page.onChange()
    if ($('models').open) void this.list()
  }

  /** The model that is there, or on its way. @param {AbortSignal} signal @returns {Promise<Model>} */
  ready(signal) {
    return new Promise((resolve, reject) => {
      const settle = () => {
        if (signal.aborted) reject(new NibbleError('E_ABORTED', 'stopped before the model was there'))
        else if (this.loading) return
        else if (this.model) resolve(this.model)
        else reject(new NibbleError('E_DISPOSED', 'no model is loaded; choose one, and try again'))
        this.waiting.delete(settle)
        signal.removeEventListener('abort', settle)
      }
      this.waiting.add(settle)
      signal.addEventListener('abort', settle)
      settle()
    })
  }

  // ---- loading --------------------------------------------------------------------------------------------------------------------

  /** The strip that tells about loading is in the dialog while that is open. */
  place() {
    if ($('models').open) $('models-lead').after($('download'))
    else $('composer').before($('download'))
  }

  /** @param {Choice} choice */
  begin(choice) {
    this.page.hideError()
    this.loading?.controller.abort()
    const mine = this.loading = { choice, controller: new AbortController(), paused: false }
    this.failed = false
    $('download-name').textContent = `Loading ${fileName(choice.name)}`
    $('download-figures').textContent = 'Starting…'
    $('download-progress').removeAttribute('value')
    $('pause').hidden = choice.kind !== 'address' || !!choice.fleeting
    $('resume').hidden = true
    this.place()
    this.changed()
    return mine
  }

  /** @param {Choice} choice */
  async open(choice) {
    const mine = this.begin(choice), speed = speedometer(), { signal } = mine.controller
    this.notKept = ''
    try {
      const model = await load(choice.source, {
        signal, ...this.page.options, cache: choice.kind === 'address' && !choice.fleeting,
        onProgress: ({ loaded, total }) => {
          if (mine !== this.loading || mine.paused) return
          this.unload() // not before it is known that there is something to load
          const rate = speed(loaded), left = total && rate ? (total - loaded) / rate : 0
          if (total) $('download-progress').value = loaded / total
          $('download-figures').textContent = [
            total ? `${bytes(loaded)} of ${bytes(total)}` : bytes(loaded), rate ? `${bytes(rate)}/s` : '', left > 1 ? `${duration(left)} left` : '',
          ].filter(Boolean).join(' · ')
        },
      })
      if (mine !== this.loading) return void model.dispose()
      this.unload()
      this.model = model
      this.origin = choice
      this.loading = undefined
      this.remember(choice)
      this.changed()
      if (choice.kind === 'file') await this.keep(choice)
    } catch (error) {
      if (mine !== this.loading || mine.paused) return
      this.loading = undefined
      const aborted = /** @type {any} */ (error).code === 'E_ABORTED'
      this.failed = !aborted
      this.changed()
      if (aborted) this.page.announce('Loading was cancelled')
      else this.page.showError(error)
    }
  }

  pause() {
    const { loading } = this
    if (!loading || loading.paused) return
    loading.paused = true
    loading.controller.abort()
    this.page.onChange()
    $('pause').hidden = true
    $('resume').hidden = false
    $('resume').focus()
    $('download-figures').textContent = `Paused at ${$('download-figures').textContent.split(' · ')[0]}`
  }

  cancel() {
    const { loading } = this
    if (!loading) return
    this.loading = undefined
    loading.controller.abort()
    this.changed()
    this.page.announce('Loading was cancelled')
  }

  /** Frees the model's memory. */
  unload() {
    if (!this.model) return
    this.page.stop()
    void this.model.dispose()
    this.model = this.origin = undefined
    this.changed()
  }

  /**
   * Opens files that a person chose: offers to make them smaller first, where they are not quantized.
   * @param {import('../web/client.js').Source} source @param {string} name
   */
  async consider(source, name) {
    const choice = /** @type {Choice} */ ({ source, name, kind: 'file' }), mine = this.begin(choice)
    let floats = false
    try {
      floats = (await estimate(source, { signal: mine.controller.signal, ...this.page.options })).bpw >= FLOATS
    } catch {} // told by what comes next
    if (mine !== this.loading) return
    if (!floats) return this.open(choice)
    this.loading = undefined
    this.changed()
    this.page.offer(source, name)
  }

  /** @param {string} address */
  openAddress(address) {
    let url
    try {
      url = new URL(address, document.baseURI)
    } catch {}
    if (!address || !url || !/^https?:$/.test(url.protocol)) {
      this.page.showError({ message: address ? `‘${address}’ is not a web address; it should look like https://example.org/model.gguf` : 'Write the address of a .gguf file first' })
    } else if (url.protocol === 'http:' && url.host !== location.host && !['localhost', '127.0.0.1'].includes(url.hostname)) { // what the worker's policy lets through
      this.page.showError({ message: `${url.href} is not fetched: models come over https, or from this machine` })
    } else {
      const { given, fleeting } = this.page
      return void this.open({ source: url, name: url.href, kind: 'address', key: url.href, fleeting: fleeting && url.href === new URL(given, document.baseURI).href })
    }
    $('url').focus()
  }

  // ---- keeping --------------------------------------------------------------------------------------------------------------------

  /** Keeps a file that was chosen, for the next visit. @param {Choice} choice */
  async keep(choice) {
    const { source } = choice
    if (!(source instanceof File)) {
      this.notKept = 'A model in parts is not kept: choose its parts again next time.'
      return
    }
    try {
      const { key } = await cache.put(source)
      Object.assign(choice, { kind: 'local', key })
      if (choice === this.origin) this.remember(choice)
    } catch (error) {
      this.notKept = `The file is in use, but not kept: ${failure(error)}`
    }
    this.changed()
  }

  /** @param {Choice} choice */
  remember({ kind, key, name }) {
    kept.set('model', key === undefined ? undefined : JSON.stringify({ given: this.page.given, kind, key, name }))
  }

  /** Opens the model of the last visit, where it is at hand, and else the page's own. Returns whether there is one. */
  async start() {
    const { given } = this.page, last = kept.json('model')
    const address = given && new URL(given, document.baseURI).href
    if (last && last.given === given && typeof last.key === 'string' && last.key !== address) {
      const { kind, key } = last, name = String(last.name)
      const open = (/** @type {import('../web/client.js').Source} */ source) => {
        void this.open({ source, name, kind, key })
        return true
      }
      try {
        if (kind === 'made') {
          const file = (await keptFiles()).find((file) => file.name === key)
          if (file) return open(file)
        } else if (kind === 'local') {
          const file = await cache.file(key)
          if (file) return open(file)
        } else if (kind === 'address' && (await cache.list()).some((entry) => entry.key === key && entry.complete)) {
          return open(new URL(key))
        }
      } catch (error) {
        this.page.showError(error)
      }
    }
    if (given) this.openAddress(given)
    return !!given
  }

  // ---- the dialog -----------------------------------------------------------------------------------------------------------------

  show() {
    if (!$('models').open) $('models').showModal()
    this.place()
    void this.list()
    void this.showStorage()
  }

  async list() {
    const { given } = this.page
    /** @type {Entry[]} */
    let entries = []
    try {
      entries = await cache.list()
    } catch (error) {
      this.page.showError(error)
    }
    const address = given && new URL(given, document.baseURI).href, inUse = this.origin?.key
    /** @type {HTMLElement[]} */
    const rows = []
    if (given && !entries.some(({ key }) => key === address)) rows.push(this.row({ key: address, name: fileName(given), bytes: 0, total: 0, complete: true }, false))
    for (const entry of entries) rows.push(this.row(entry, true))
    if (this.origin && this.origin.kind !== 'made' && ![address, ...entries.map(({ key }) => key)].includes(inUse ?? '')) {
      const { name, key = '' } = this.origin
      rows.push(this.row({ key, name: fileName(name), bytes: 0, total: 0, complete: true }, false))
    }
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement : undefined, { action } = focused?.dataset ?? {}
    const row = /** @type {HTMLElement | null} */ (focused?.closest('#model-list > li'))
    $('model-list').replaceChildren(...rows)
    if (row) [...$('model-list').children].find((li) => li.dataset.key === row.dataset.key)?.querySelector(`[data-action="${action}"], button`)?.focus()
    $('models-none').hidden = rows.length > 0
    $('models-note').textContent = this.notKept
  }

  /** @param {Entry} entry @param {boolean} cached */
  row({ key, name, bytes: held, total, complete }, cached) {
    const used = this.origin && (this.origin.key ?? '') === key, local = key.startsWith('local:')
    const size = used && this.model ? this.model.info.file_bytes ?? this.model.info.weight_bytes : total
    const from = key === '' ? 'not kept' : local ? 'from this device' : new URL(key).host === location.host ? 'from this page' : new URL(key).host
    /** @param {string} text @param {string} action @param {() => void} act @param {string} [className] */
    const act = (text, action, act, className = 'quiet') => {
      const e = button(text, className, act)
      e.ariaLabel = `${text} ${name}`
      e.dataset.action = action
      return e
    }
    const li = element('li', used ? 'used' : '',
      element('div', 'model-about', element('strong', '', name),
        element('span', 'hint', [complete ? size ? bytes(size) : '' : `${bytes(held)}${total ? ` of ${bytes(total)}` : ''} so far`, from, used ? 'in use' : ''].filter(Boolean).join(' · '))),
      element('div', 'row',
        used ? act('Unload', 'unload', () => this.unload()) : act(complete ? 'Use' : 'Go on', 'use', () => void this.use(key, name), 'button'),
        ...(cached ? [...(complete ? [act('Export', 'export', () => void this.export(key))] : []), act('Delete', 'delete', () => void this.delete(key, name))] : [])))
    li.dataset.key = key
    return li
  }

  /** @param {string} key @param {string} name */
  async use(key, name) {
    if (!key.startsWith('local:')) return this.openAddress(key)
    try {
      const file = await cache.file(key)
      if (!file) throw new NibbleError('E_FORMAT', `${name} is not there any more`)
      await this.open({ source: file, name, kind: 'local', key })
    } catch (error) {
      this.page.showError(error)
      void this.list()
    }
  }

  /** @param {string} key */
  async export(key) {
    try {
      save(await cache.export(key))
    } catch (error) {
      this.page.showError(error)
    }
  }

  /** @param {string} key @param {string} name */
  async delete(key, name) {
    try {
      if (this.loading?.choice.key === key) this.cancel()
      await cache.delete(key)
      if (this.origin?.key === key) {
        this.origin.key = undefined // in memory only, from here on
        kept.set('model', undefined)
      }
      this.page.announce(`${name} was deleted`)
    } catch (error) {
      this.page.showError(error)
    }
    this.changed()
    void this.showStorage()
  }

  /** @param {string} [more] */
  async showStorage(more = '') {
    const { usage, quota, persisted } = await cache.usage()
    $('storage').textContent = quota ? `${bytes(usage)} of at most ${bytes(quota)} in use.${persisted ? ' Kept until you delete it.' : ' The browser may drop it when the disk is full.'}${more}` : ''
    $('persist').hidden = !quota || persisted
  }
}
