/**
 * Making a model smaller before talking with it: the offer, the work, and what came of it.
 */
import { deleteKept, keptFiles, openQuantizer } from '../web/quantize-client.js'
import { button as plainButton, element } from './nodes.js'
import { bytes, decimal, duration, failure, sentence } from './words.js'

/**
 * @typedef {import('../web/quantize-client.js').Quantizer} Quantizer
 * @typedef {import('../web/quantize-client.js').QuantizeEstimate} Estimate
 * @typedef {{name: string, type: string, bytes: number, bpw: number}} Before
 * @typedef {{file: File, kept: boolean, before: Before, after: Before, seconds: number}} Made  a model that was made smaller here
 *
 * @typedef {object} Page  what the rest of the page does
 * @property {(view: string) => void} show
 * @property {(error: unknown) => void} showError  @property {() => void} hideError
 * @property {(text: string) => void} announce
 * @property {(title: string, name: string) => AbortController} begin  shows that something is under way, which its button cancels
 * @property {(controller: AbortController) => boolean} end  whether it was the last thing that began
 * @property {(figures: string, done?: number) => void} progress
 * @property {(source: import('../web/client.js').Source, name: string, how: {made?: Made, kept?: boolean}) => void} open  for talking; `kept`: it is a file of keptFiles()
 * @property {() => void} leave  back to choosing
 * @property {import('../web/quantize-client.js').OpenOptions} options
 */

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id)

/** What the four types are for. */
const CHOICES = [
  { type: 'Q4_0', says: 'Smallest and fastest.' },
  { type: 'Q4_K_M', says: 'A little larger, and closer to the original. Right for most models.' },
  { type: 'Q5_K_M', says: 'Closer still, for small models that suffer in 4 bits.' },
  { type: 'Q8_0', says: 'Hardly to be told from the original, at half its size.' },
]
/** Only converted, for folders. */
const WHOLE = { type: 'F16', says: 'As it is, in one file that can be opened here.' }
/** More than WebAssembly can address. */
const TOO_LARGE = 2 ** 32

/** @param {string} text @param {string} label @param {() => void} act */
function button(text, label, act) {
  const e = plainButton(text, 'quiet', act)
  e.ariaLabel = label
  return e
}

/** Lets the person save a file where they like. @param {File} file */
export function save(file) {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(file)
  link.download = file.name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000) // the download has begun by then
}

/** The name of the result. @param {string} name  of the file or folder @param {string} type */
const resultName = (name, type) => `${name.replace(/^.*[/\\]/, '').replace(/\.gguf$/i, '').replace(/-\d{5}-of-\d{5}$/, '').replace(/[-._](f16|bf16|f32|fp16|fp32)$/i, '').slice(0, 120) || 'model'}-${type}.gguf`

export class Quantizing {
  /** @param {Page} page */
  constructor(page) {
    this.page = page
    /** @type {Quantizer | undefined} */
    this.quantizer = undefined
    /** What was offered. @type {{source: any, name: string, folder: boolean}} */
    this.offered = { source: undefined, name: '', folder: false }
    /** By method and type. @type {Map<string, Estimate>} */
    this.estimates = new Map()
    /** Whose estimates are being asked for. @type {Quantizer | undefined} */
    this.estimating = undefined
    /** Work under way; never rejects. @type {Promise<unknown>} */
    this.running = Promise.resolve()
    /** @type {Made | undefined} */
    this.made = undefined
    this.form().addEventListener('change', () => this.changed())
    this.form().addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
      event.preventDefault()
      void this.run()
    })
    $('offer-as-is').addEventListener('click', () => {
      const { source, name } = this.offered
      this.close()
      page.open(source, name, {})
    })
    $('offer-back').addEventListener('click', () => {
      this.close()
      page.leave()
    })
    $('result-chat').addEventListener('click', () => this.made && page.open(this.made.file, this.made.file.name, { made: this.made, kept: this.made.kept }))
    $('result-save').addEventListener('click', () => this.made && save(this.made.file))
    $('result-delete').addEventListener('click', async () => {
      const { made } = this
      this.made = undefined
      if (made?.kept) await this.remove(made.file.name)
      else page.announce('Deleted')
      page.leave()
    })
  }

  /** @returns {HTMLFormElement} */
  form() {
    return $('offer-form')
  }

  /** @param {string} name */
  chosen(name) {
    return String(new FormData(this.form()).get(name))
  }

  /** Gives up the model; work under way, which is cancelled by whoever gives it up, puts things in order first. */
  close() {
    const { quantizer } = this
    this.quantizer = undefined
    if (quantizer) void this.running.then(() => quantizer.close())
  }

  // ---- the offer ------------------------------------------------------------------------------------------------------------------

  /**
   * Reads the header of a model and asks what to do with it.
   * @param {any} source @param {string} name @param {{folder?: boolean}} [options]
   */
  async offer(source, name, { folder = false } = {}) {
    const { page } = this
    this.close()
    const mine = page.begin('Reading', name)
    try {
      const quantizer = await openQuantizer(source, { ...page.options, signal: mine.signal, ...(folder && { folder: name }) })
      if (!page.end(mine)) return void quantizer.close()
      this.quantizer = quantizer
    } catch (error) {
      if (!page.end(mine)) return
      page.leave()
      if (/** @type {any} */ (error).code === 'E_ABORTED') page.announce('Reading was cancelled')
      else page.showError(error)
      return
    }
    this.offered = { source, name, folder }
    this.estimates.clear()
    this.showOffer()
  }

  showOffer() {
    const { model } = /** @type {Quantizer} */ (this.quantizer), { name, folder } = this.offered
    const asIs = model.weight_bytes + model.session_bytes
    $('offer-lead').textContent = `${name.replace(/^.*\//, '')} holds its weights as ${model.type}: ${decimal(model.bpw, 1)} bits each, ${bytes(model.weight_bytes)} together. ` +
      'Made smaller, it needs less memory and answers faster. It happens on this device: nothing is uploaded.'
    $('offer-choices').replaceChildren(...[...CHOICES, ...(folder ? [WHOLE] : [])].map(({ type, says }) => {
      const input = document.createElement('input')
      Object.assign(input, { type: 'radio', name: 'type', value: type, defaultChecked: type === 'Q4_K_M' })
      const size = element('span', 'choice-size', '…')
      size.dataset.type = type
      return element('label', 'choice', input, element('span', 'choice-text', element('strong', '', type), element('span', 'hint', says)), size)
    }))
    $('offer-as-is').hidden = folder
    $('offer-as-is').disabled = asIs >= TOO_LARGE
    $('offer-as-is-hint').textContent = !folder && asIs >= TOO_LARGE ? 'As it is, it is too large for a page to talk with.' : ''
    this.tell(model.notes)
    this.changed()
    this.page.show('offer')
    $('offer-title').focus()
  }

  /** @param {string[]} notes */
  tell(notes) {
    $('offer-notes').replaceChildren(...notes.slice(0, 6).map((note) => element('li', '', sentence(note))))
    $('offer-notes').hidden = notes.length === 0
  }

  /** Asks, one after the other, for what is not known yet of the method that is chosen; the chosen type first. */
  async estimate() {
    const { quantizer } = this
    if (!quantizer || quantizer === this.estimating) return
    this.estimating = quantizer
    const types = [...document.querySelectorAll('#offer-choices input')].map((input) => /** @type {HTMLInputElement} */ (input).value)
    try {
      for (;;) {
        const method = this.chosen('method'), unknown = [this.chosen('type'), ...types].find((type) => !this.estimates.has(`${method} ${type}`))
        if (unknown === undefined) return
        const estimate = await quantizer.estimate({ type: unknown, method: /** @type {any} */ (method) })
        if (quantizer !== this.quantizer) return
        this.estimates.set(`${method} ${unknown}`, estimate)
        this.fill()
      }
    } catch (error) {
      if (quantizer === this.quantizer) this.page.showError(error)
    } finally {
      if (quantizer === this.estimating) this.estimating = undefined
    }
  }

  changed() {
    this.fill()
    void this.estimate()
  }

  /** Writes the figures that are known. */
  fill() {
    if (!this.quantizer) return
    const { model } = this.quantizer, method = this.chosen('method'), type = this.chosen('type')
    for (const place of document.querySelectorAll('.choice-size')) {
      const known = [...this.estimates.values()].find((e) => e.type === /** @type {HTMLElement} */ (place).dataset.type)
      if (known) place.replaceChildren(bytes(known.file_bytes), element('small', '', `${decimal(known.bpw, 1)} bits`))
    }
    const estimate = this.estimates.get(`${method} ${type}`)
    $('offer-how').textContent = method === 'hqq' ? 'robust' : 'least error'
    $('offer-run').textContent = type === 'F16' ? 'Convert' : 'Make it smaller'
    const whole = this.offered.folder ? '' : ` (as it is ${bytes(model.weight_bytes + model.session_bytes)})`
    const figures = [
      ['Takes', estimate ? `about ${duration(estimate.seconds)} with ${model.threads > 1 ? `${model.threads} threads` : '1 thread'}, ${bytes(estimate.memory_bytes)} of memory` : 'estimating…'],
      ['Memory for talking with it', estimate ? `${bytes(estimate.file_bytes + model.session_bytes)}${whole}` : '…'],
      ['The result is', model.kept ? 'kept in this browser until you delete it' : 'in memory, up to 512 MB: this browser keeps no files for pages'],
    ]
    $('offer-figures').replaceChildren(...figures.map(([name, value]) => element('div', '', element('dt', '', name), element('dd', '', value))))
    if (estimate) this.tell([...model.notes, ...estimate.notes])
  }

  // ---- the work -------------------------------------------------------------------------------------------------------------------

  async run() {
    const { page, quantizer, offered: { name } } = this, type = this.chosen('type'), method = this.chosen('method')
    if (!quantizer) return
    const { model } = quantizer, start = performance.now()
    const mine = page.begin(type === 'F16' ? 'Converting' : `Making it smaller: ${type}`, resultName(name, type))
    let quarter = 0
    const work = quantizer.quantize({ type, method: /** @type {any} */ (method) }, {
      name: resultName(name, type), signal: mine.signal,
      onProgress({ index, count, done, secondsLeft }) {
        if (mine.signal.aborted) return
        page.progress([`${Math.floor(done * 100)} %`, `tensor ${Math.min(index + 1, count)} of ${count}`, done > 0.01 && secondsLeft > 1 ? `${duration(secondsLeft)} left` : ''].filter(Boolean).join(' · '), done)
        if (done * 4 >= quarter + 1) page.announce(`${Math.floor(done * 100)} percent done, ${duration(secondsLeft)} left`)
        quarter = Math.floor(done * 4)
      },
    })
    this.running = work.catch(() => {})
    try {
      const { file, kept, result } = await work
      if (!page.end(mine)) return
      this.close()
      this.made = {
        file, kept, seconds: (performance.now() - start) / 1000,
        before: { name, type: model.type, bytes: model.weight_bytes, bpw: model.bpw }, after: { name: file.name, type: result.type, bytes: file.size, bpw: result.bpw },
      }
      this.showResult(result)
    } catch (error) {
      if (!page.end(mine)) return
      page.show('offer')
      $('offer-run').focus()
      if (/** @type {any} */ (error).code === 'E_ABORTED') return page.announce('Cancelled. Nothing was kept.')
      page.showError(error)
      if (quantizer.connection.closed) {
        this.close()
        page.leave()
      }
    }
  }

  /** @param {import('../web/quantize-client.js').QuantizeResult} result */
  showResult(result) {
    const { before, after, kept, seconds } = /** @type {Made} */ (this.made), part = after.bytes / before.bytes
    $('result-title').textContent = part < 0.9 ? `Done: ${Math.round((1 - part) * 100)} % smaller` : 'Done'
    const rows = [['Weights', before.type, after.type], ['Size', bytes(before.bytes), bytes(after.bytes)], ['Bits per weight', decimal(before.bpw, 2), decimal(after.bpw, 2)]]
    $('result-rows').replaceChildren(...rows.map(([name, was, is]) => {
      const head = /** @type {HTMLTableCellElement} */ (element('th', '', name))
      head.scope = 'row'
      return element('tr', '', head, element('td', '', was), element('td', '', is))
    }))
    const worst = Math.max(0, ...result.tensors.map((t) => t.error))
    $('result-figures').textContent = `It took ${duration(seconds)}. ` + (worst > 0 ? `The weights of no tensor differ from the original by more than ${decimal(Math.sqrt(worst) * 100, 1)} % (root mean square). ` : '') +
      (kept ? 'The file is kept in this browser, which may drop it when the disk is full: save it as a file to be sure.' : 'The result is in memory only: save it as a file to keep it.')
    this.page.show('result')
    $('result-title').focus()
    this.page.announce(`${after.name} is ready, ${bytes(after.bytes)}`)
  }

  // ---- what was kept --------------------------------------------------------------------------------------------------------------

  /** Lists the models that were made here, where people choose. */
  async list() {
    const files = await keptFiles()
    $('kept').hidden = files.length === 0
    $('kept-list').replaceChildren(...files.map((file) => element('li', '',
      element('span', 'kept-name', file.name, element('span', 'hint', bytes(file.size))),
      element('span', 'row',
        button('Open', `Open ${file.name}`, () => this.page.open(file, file.name, { kept: true })),
        button('Save', `Save ${file.name} as a file`, () => save(file)),
        button('Delete', `Delete ${file.name}`, () => void this.remove(file.name))))))
  }

  /** @param {string} name */
  async remove(name) {
    try {
      await deleteKept(name)
      this.page.announce(`${name} was deleted`)
    } catch (error) {
      this.page.showError({ message: failure(error) })
    }
    await this.list()
  }
}
