/**
 * The chat page: choosing a model, loading it, talking with it.
 */
import { cache, estimate, load } from '../web/client.js'
import { sweep } from '../web/quantize-client.js'
import { Conversation } from './conversation.js'
import { dropped, folderOf, modelIn } from './files.js'
import { Quantizing, save } from './quantize.js'
import { bytes, count, decimal, duration, failure } from './words.js'

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id)

/** The page's policy lets it start three workers, these: one that chats, one that quantizes, one that fetches. */
const workers = ['./worker.js', './quantize-worker.js', './fetch-worker.js'].map((name) => new URL(name, import.meta.url).href)
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('nibble', {
  createScriptURL(/** @type {string} */ url) {
    if (!workers.includes(url)) throw new TypeError(`${url} is not a script of this page`)
    return url
  },
})
if (policy) cache.fetchWorkerUrl = policy.createScriptURL(workers[2])
const [chatting, quantizing] = workers.map((url) => ({ wasm: new URL('./', import.meta.url), ...(policy && { workerUrl: policy.createScriptURL(url) }) }))

/** Bits per weight from which on all weights are floats. */
const FLOATS = 16

/** What the embedded model is good at. */
const IDEAS = ['Write a story about a young girl who finds a magical book in the forest.', 'Write a poem about the sea.', 'Tell a campfire story called `Gus and the Haunted Mill`.']

/** @type {import('../web/client.js').Model | undefined} */
let model
/** @type {AbortController | undefined} */
let loading
/** Whether it is the one that came with the page. */
let embedded = false
/** What people know the model by: its own name, or that of its file. */
let title = ''
/** Where it came from, and whether it was made smaller here. @type {{source: import('../web/client.js').Source, name: string, made?: import('./quantize.js').Made} | undefined} */
let origin

// ---- views ------------------------------------------------------------------------------------------------------------------------

/** @param {string} view  'chooser', 'offer', 'loading', 'result' or 'talk' */
function show(view) {
  $('starting').hidden = true
  for (const name of ['chooser', 'offer', 'loading', 'result', 'talk']) $(name).hidden = name !== view
  $('model-actions').hidden = view !== 'talk'
  $('model-name').textContent = view === 'talk' ? title : ''
  document.body.dataset.view = view
}

/** @param {unknown} error */
function showError(error) {
  $('error-text').textContent = failure(error)
  $('error').hidden = false
}

function hideError() {
  $('error').hidden = true
}

const conversation = new Conversation({ messages: $('messages'), scroll: $('scroll') }, readSettings, ({ busy, speed, announce }) => {
  $('send').hidden = busy
  $('stop').hidden = !busy
  $('empty').hidden = !conversation.empty
  $('speed').textContent = speed ?? ''
  if (announce) $('announce').textContent = announce
  if (!busy) showMemory()
})

// ---- settings ---------------------------------------------------------------------------------------------------------------------

function readSettings() {
  /** @param {string} name */
  const number = (name) => {
    const { value, valueAsNumber } = $('settings').elements.namedItem(name)
    return value === '' ? undefined : valueAsNumber
  }
  return { system: $('settings').elements.namedItem('system').value.trim(), temperature: number('temperature'), top_p: number('top_p'), max_tokens: number('max_tokens'), seed: number('seed') }
}

/** @type {HTMLElement} */
let memoryPlace

function showMemory() {
  if (model && memoryPlace) memoryPlace.textContent = bytes(model.info.memory().wasm_bytes)
}

function showFacts() {
  if (!model) return
  const { info, contextLength } = model
  const facts = [
    ['Name', title],
    ['Architecture', info.architecture],
    ['Parameters', count(info.parameters)],
    ['Size', bytes(info.file_bytes ?? info.weight_bytes)],
    ['Bits per weight', decimal(info.bpw, 2)],
    ...(origin?.made ? [['Before', `${bytes(origin.made.before.bytes)}, ${decimal(origin.made.before.bpw, 2)} bits`]] : []),
    ['Context', `${contextLength.toLocaleString('en')} of ${Number(info.config.n_ctx_train).toLocaleString('en')} tokens`],
    ['Memory', ''],
    ['Loaded in', `${decimal(model.load_s, 1)} s`],
    ['WebAssembly', info.variant === 'relaxed' ? 'relaxed SIMD' : 'SIMD'],
  ]
  $('facts').replaceChildren(...facts.map(([name, value]) => {
    const row = document.createElement('div')
    const term = document.createElement('dt')
    const detail = document.createElement('dd')
    term.textContent = name
    detail.textContent = value
    if (name === 'Memory') memoryPlace = detail
    row.append(term, detail)
    return row
  }))
  $('smaller').hidden = info.bpw < FLOATS || origin === undefined
  $('keep').hidden = !origin?.made
  showMemory()
}

function clearConversation() {
  conversation.clear()
  $('send').hidden = false
  $('stop').hidden = true
  $('empty').hidden = false
  $('speed').textContent = ''
}

// ---- loading ----------------------------------------------------------------------------------------------------------------------

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

/**
 * Shows that something is under way, which ends what was before.
 * @param {string} what @param {string} name
 */
function begin(what, name) {
  hideError()
  loading?.abort()
  void model?.dispose()
  model = undefined
  clearConversation()
  $('loading-title').textContent = what
  $('loading-name').textContent = name
  $('loading-figures').textContent = 'Starting…'
  $('progress').removeAttribute('value')
  $('cancel').disabled = false
  show('loading')
  $('loading-title').focus()
  return loading = new AbortController()
}

/** Whether that was still the last thing under way; then nothing is. @param {AbortController} mine */
function end(mine) {
  if (mine !== loading) return false
  loading = undefined
  return true
}

/** Back to choosing. */
function choose() {
  show('chooser')
  $('chooser-title').focus()
  void quantizer.list()
}

/**
 * Opens a model for talking.
 * @param {import('../web/client.js').Source} source
 * @param {string} name
 * @param {import('./quantize.js').Made} [made]
 */
async function open(source, name, made) {
  const mine = begin('Loading', name)
  const speed = speedometer()
  try {
    const opened = await load(source, {
      signal: mine.signal,
      ...chatting,
      onProgress({ loaded, total }) {
        const rate = speed(loaded)
        if (total) $('progress').value = loaded / total
        const left = total && rate ? (total - loaded) / rate : 0
        $('loading-figures').textContent = [
          total ? `${bytes(loaded)} of ${bytes(total)}` : bytes(loaded),
          rate ? `${bytes(rate)}/s` : '',
          left > 1 ? `${duration(left)} left` : '',
        ].filter(Boolean).join(' · ')
      },
    })
    if (!end(mine)) return void opened.dispose()
    model = opened
    origin = { source, name, made }
    embedded = /^Llama Nibble/.test(opened.info.name)
    title = opened.info.metadata['general.name'] ? opened.info.name : name.replace(/^.*\//, '')
  } catch (error) {
    if (!end(mine)) return
    choose()
    if (/** @type {any} */ (error).code === 'E_ABORTED') $('announce').textContent = 'Loading was cancelled'
    else showError(error)
    return
  }
  talk()
}

const quantizer = new Quantizing({
  show, showError, hideError, begin, end, open, leave: choose, options: quantizing,
  announce: (text) => { $('announce').textContent = text },
  progress(figures, done) {
    $('loading-figures').textContent = figures
    if (done !== undefined) $('progress').value = done
  },
})

/**
 * Opens files that a person chose: offers to make them smaller first, where they are not quantized.
 * @param {import('../web/client.js').Source} source @param {string} name
 */
async function consider(source, name) {
  const mine = begin('Loading', name)
  quantizer.close()
  let floats = false
  try {
    floats = (await estimate(source, { signal: mine.signal, ...chatting })).bpw >= FLOATS
  } catch {} // told by what comes next
  const { aborted } = mine.signal
  if (!end(mine)) return
  if (aborted) {
    choose()
    $('announce').textContent = 'Loading was cancelled'
  } else if (floats) {
    await quantizer.offer(source, name)
  } else {
    await open(source, name)
  }
}

function talk() {
  conversation.model = model
  const { chats } = conversation
  $('completion-notice').hidden = chats
  $('system-field').hidden = !chats
  $('prompt-label').textContent = chats ? 'Your message' : 'How the text begins'
  $('prompt').placeholder = chats ? 'Write a message' : 'Once upon a time'
  $('send').textContent = chats ? 'Send' : 'Continue'
  $('reset').textContent = chats ? 'New chat' : 'New text'
  $('empty-text').textContent = chats ? 'Say something. Nothing you write leaves this device.' : 'Nothing you write leaves this device.'
  $('ideas').hidden = $('built-with').hidden = !embedded
  showFacts()
  show('talk')
  $('announce').textContent = `${title} is ready`
  $('prompt').focus()
}

/** @param {FileList | File[] | null | undefined} list */
function openFiles(list) {
  const files = [...(list ?? [])].sort((a, b) => (a.name < b.name ? -1 : 1)) // parts of a split model are numbered
  if (files.length === 0) return
  void consider(files.length === 1 ? files[0] : files, files.length === 1 ? files[0].name : `${files[0].name} and ${files.length - 1} more`)
}

/** @param {File[]} list @param {string} name */
function openFolder(list, name) {
  try {
    const { kind, files } = modelIn(list, name)
    if (kind === 'gguf') openFiles(files)
    else void quantizer.offer(files, name, { folder: true })
  } catch (error) {
    showError(error)
  }
}

/** @param {string} address */
function openAddress(address) {
  try {
    if (!address) throw new TypeError('no address')
    const url = new URL(address, document.baseURI)
    if (!/^https?:$/.test(url.protocol)) throw new TypeError('not a web address')
    quantizer.close()
    void open(url, url.href)
  } catch {
    showError({ message: address ? `‘${address}’ is not a web address; it should look like https://example.org/model.gguf` : 'Write the address of a .gguf file first' })
    $('url').focus()
  }
}

// ---- what people do ---------------------------------------------------------------------------------------------------------------

$('url-form').addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
  event.preventDefault()
  hideError()
  openAddress($('url').value.trim())
})
$('file').addEventListener('change', () => {
  openFiles($('file').files)
  $('file').value = '' // so that the same file can be chosen again
})
$('folder').addEventListener('change', () => {
  const files = [...$('folder').files]
  $('folder').value = ''
  hideError()
  if (files.length > 0) openFolder(files, folderOf(files))
})
$('folder-label').hidden = !('webkitdirectory' in HTMLInputElement.prototype)
function cancel() {
  if (!loading) return
  $('cancel').disabled = true
  $('loading-figures').textContent = 'Cancelling…'
  loading.abort()
}
$('cancel').addEventListener('click', cancel)
$('smaller').addEventListener('click', () => { if (origin) void quantizer.offer(origin.source, origin.name) })
$('keep').addEventListener('click', () => { if (origin?.made) save(origin.made.file) })
$('error-close').addEventListener('click', hideError)

/** Files, not text on its way into the message. @param {DragEvent} event */
const bringsFiles = ({ dataTransfer }) => !!dataTransfer?.types.includes('Files')
addEventListener('dragover', (event) => {
  if (!bringsFiles(event)) return
  event.preventDefault()
  document.body.classList.add('dragging')
})
addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) document.body.classList.remove('dragging')
})
addEventListener('drop', async (event) => {
  if (!bringsFiles(event) || !event.dataTransfer) return
  event.preventDefault()
  document.body.classList.remove('dragging')
  try {
    const { files, folder } = await dropped(event.dataTransfer)
    if (folder === undefined) openFiles(files)
    else openFolder(files, folder)
  } catch (error) {
    showError(error)
  }
})

const touch = matchMedia('(pointer: coarse)')
function fitPrompt() {
  const { style } = $('prompt')
  style.height = 'auto'
  style.height = `${Math.min($('prompt').scrollHeight + 2, 220)}px`
}
function send() {
  const text = $('prompt').value
  if (conversation.running || text.trim() === '') return
  if (!$('settings').reportValidity()) return openPanel(true)
  $('prompt').value = ''
  fitPrompt()
  void conversation.say(conversation.chats ? text.trim() : text)
}
$('ideas').append(...IDEAS.map((text) => {
  const button = document.createElement('button')
  button.type = 'button'
  button.className = 'button idea'
  button.textContent = text
  button.addEventListener('click', () => {
    if ($('settings').reportValidity()) void conversation.say(text)
    else openPanel(true)
  })
  return button
}))
$('prompt').addEventListener('input', fitPrompt)
$('prompt').addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
  // On touch screens Enter is the only way to a new line.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing || touch.matches) return
  event.preventDefault()
  send()
})
$('composer').addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
  event.preventDefault()
  send()
})
$('stop').addEventListener('click', () => {
  conversation.stop()
  $('prompt').focus()
})
$('reset').addEventListener('click', () => {
  clearConversation()
  $('prompt').focus()
})
$('change').addEventListener('click', async () => {
  clearConversation()
  conversation.model = undefined
  await model?.dispose()
  model = undefined
  choose()
})
addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return
  if (loading) cancel()
  else conversation.stop()
})

const wide = matchMedia('(min-width: 60rem)')
/** @param {boolean} opened */
function openPanel(opened) {
  $('panel').hidden = !opened
  $('panel-toggle').setAttribute('aria-expanded', String(opened))
}
$('panel-toggle').addEventListener('click', () => openPanel($('panel').hidden))
wide.addEventListener('change', () => openPanel(wide.matches))
openPanel(wide.matches)
$('settings').addEventListener('submit', (/** @type {SubmitEvent} */ event) => event.preventDefault())

// ---- start ------------------------------------------------------------------------------------------------------------------------

const given = /** @type {HTMLMetaElement} */ (document.querySelector('meta[name="nibble-model"]')).content
if (given) openAddress(given)
else {
  show('chooser')
  void quantizer.list()
}
void sweep()
