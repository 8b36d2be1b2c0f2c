/**
 * The chat page: what its parts have to do with each other.
 */
import { cache } from '../web/client.js'
import { sweep } from '../web/quantize-client.js'
import { Conversation } from './conversation.js'
import { dropped, folderOf, modelIn } from './files.js'
import { install } from './install.js'
import { Models } from './models.js'
import { element } from './nodes.js'
import { Quantizing, save } from './quantize.js'
import { kept, sampling, startSettings, valid } from './settings.js'
import { Sidebar } from './sidebar.js'
import { Store, newChat } from './store.js'
import { bytes, count, decimal, failure } from './words.js'

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id)

/** The page's policy lets it start these: a worker that chats, one that quantizes, one that fetches, and the one that serves the page when it is offline. */
const scripts = ['./worker.js', './quantize-worker.js', './fetch-worker.js', './sw.js'].map((name) => new URL(name, import.meta.url).href)
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('nibble', {
  createScriptURL(/** @type {string} */ url) {
    if (!scripts.includes(url)) throw new TypeError(`${url} is not a script of this page`)
    return url
  },
})
const [chatUrl, quantizeUrl, fetchUrl, serviceUrl] = scripts.map((url) => policy?.createScriptURL(url) ?? url)
const [chatting, quantizing] = [chatUrl, quantizeUrl].map((workerUrl) => ({ wasm: new URL('./', import.meta.url), workerUrl }))
cache.fetchWorkerUrl = fetchUrl

/** Bits per weight from which on all weights are floats. */
const FLOATS = 16

/** What the embedded model is good at. */
const IDEAS = ['Write a story about a young girl who finds a magical book in the forest.', 'Write a poem about the sea.', 'Tell a campfire story called `Gus and the Haunted Mill`.']

const { content: given, dataset: { kept: keptModel } } = /** @type {HTMLMetaElement} */ (document.querySelector('meta[name="nibble-model"]'))
const touch = matchMedia('(pointer: coarse)')

// ---- telling ----------------------------------------------------------------------------------------------------------------------

/** @param {string} view  'talk', or one of the quantizer's: 'offer', 'loading', 'result' */
function show(view) {
  for (const name of ['talk', 'offer', 'loading', 'result']) $(name).hidden = name !== view
  document.body.dataset.view = view
}

/** Errors are shown in the dialog while it is open, since all else is behind it. @param {unknown} error */
function showError(error) {
  $('error-text').textContent = failure(error)
  placeError()
  $('error').hidden = false
}
const placeError = () => ($('models').open ? $('models-lead').after($('error')) : document.querySelector('main')?.prepend($('error')))
$('models').addEventListener('close', () => {
  if ($('models').contains($('error'))) hideError()
  placeError()
})
function hideError() {
  $('error').hidden = true
}
$('error-close').addEventListener('click', hideError)

/** @param {string} text */
const announce = (text) => { $('announce').textContent = text }

/** @type {ReturnType<typeof setTimeout> | undefined} */
let toastTimer
/** @type {() => void} */
let undo = () => {}
/** @param {string} what @param {() => void} restore */
function offerUndo(what, restore) {
  undo = restore
  $('toast-text').textContent = what
  $('toast').hidden = false
  clearTimeout(toastTimer)
  toastTimer = setTimeout(hideToast, 20_000)
}
function hideToast() {
  // Not from under the finger.
  if ($('toast').matches(':hover, :focus-within')) toastTimer = setTimeout(hideToast, 5000)
  else $('toast').hidden = true
}
$('undo').addEventListener('click', () => {
  $('toast').hidden = true
  undo()
  $('prompt').focus()
})

// ---- the conversation -------------------------------------------------------------------------------------------------------------

const store = new Store()
const system = $('settings').elements.namedItem('system')

/** @param {import('./store.js').Chat} chat */
async function saveChat(chat) {
  const fresh = !(await store.get(chat.id))
  try {
    await store.put(chat)
  } catch (error) {
    showError({ message: `The conversation cannot be kept: ${/** @type {Error} */ (error).message}` })
  }
  kept.set('conversation', conversation.chat?.id)
  if (fresh) showTitle()
  await sidebar.list()
}

const conversation = new Conversation({ messages: $('messages'), scroll: $('scroll') }, {
  settings: sampling,
  save: saveChat,
  offerUndo,
  model: (signal) => models.ready(signal),
  onState({ busy, speed, announce: text }) {
    document.body.toggleAttribute('data-busy', busy)
    if ($('send').hidden !== busy) {
      const focused = [$('send'), $('stop')].includes(document.activeElement)
      $('send').hidden = busy
      $('stop').hidden = !busy
      if (focused) $(busy ? 'stop' : 'prompt').focus()
    }
    $('empty').hidden = conversation.turns.length > 0
    $('speed').textContent = speed ?? ''
    if (text) announce(text)
    if (!busy) showMeters()
  },
})

const sidebar = new Sidebar({
  store, showError, announce,
  current: () => conversation.chat,
  begin: beginChat,
  open: async (chat) => {
    await openChat(chat)
    closeDrawers()
    if (!touch.matches) $('prompt').focus()
  },
  renamed: showTitle,
  async remove(chat) {
    const current = chat.id === conversation.chat?.id
    if (current) await conversation.stopped()
    const removed = current ? conversation.chat ?? chat : chat
    await store.delete(chat.id)
    if (current) await openChat((await store.list())[0] ?? newChat(system.value.trim()))
    await sidebar.list()
    offerUndo(`‘${chat.title || 'The conversation'}’ was deleted.`, async () => {
      await store.put(removed)
      await sidebar.list()
    })
    announce('The conversation was deleted')
    ;(/** @type {HTMLElement | null} */ (document.querySelector('#conversations .open')) ?? $('new-chat')).focus()
  },
})

function showTitle() {
  const title = conversation.chat?.title
  $('title').textContent = title || 'New conversation'
  document.title = title ? `${title} – Nibble` : 'Nibble: a language model in this page'
}

/** @param {import('./store.js').Chat} chat */
async function openChat(chat) {
  if (chat === conversation.chat) return backToTalk()
  await conversation.open(chat)
  system.value = chat.system
  kept.set('conversation', chat.turns.length > 0 ? chat.id : undefined)
  showTitle()
  backToTalk()
  await sidebar.list()
}

async function beginChat() {
  if (conversation.turns.length > 0) await openChat(newChat(system.value.trim()))
  closeDrawers()
  backToTalk()
  $('prompt').focus()
}

system.addEventListener('change', () => {
  const { chat } = conversation
  if (!chat) return
  chat.system = system.value.trim()
  if (chat.turns.length > 0) void saveChat(chat)
})

// ---- the model --------------------------------------------------------------------------------------------------------------------

const models = new Models({
  given, showError, hideError, announce,
  fleeting: keptModel === 'no',
  options: chatting,
  stop: () => conversation.stop(),
  offer: (source, name) => {
    $('models').close()
    void quantizer.offer(source, name)
  },
  onChange: showModel,
})

/** What people know the model by: its own name, or that of its file. */
function titleOfModel() {
  const { model, origin } = models
  if (!model) return ''
  return model.info.metadata['general.name'] ? model.info.name : origin?.name.replace(/^.*\//, '') ?? model.info.name
}

/** @type {import('../web/client.js').Model | undefined} */
let shown
function showModel() {
  const { model, state, loading } = models
  $('model-name').textContent = model ? titleOfModel() : state === 'loading' ? loading?.paused ? 'Paused' : 'Loading…' : 'No model'
  $('about-model').hidden = $('meters').hidden = !model
  showMeters()
  if (model === shown) return
  shown = model
  const chats = !model || !!model.info.chat_template
  $('completion-notice').hidden = chats
  $('system-field').hidden = !chats
  $('prompt-label').textContent = chats ? 'Your message' : 'How the text begins'
  $('prompt').placeholder = chats ? 'Write a message' : 'Once upon a time'
  for (const name of ['ariaLabel', 'title']) $('send')[name] = chats ? 'Send' : 'Continue'
  $('ideas').hidden = $('built-with').hidden = !/^Llama Nibble/.test(model?.info.name ?? '')
  if (!model) return
  showFacts(model)
  if ($('models').open) $('models').close()
  announce(`${titleOfModel()} is ready`)
  if (!touch.matches && [document.body, null].includes(/** @type {any} */ (document.activeElement))) $('prompt').focus()
}

/** @param {import('../web/client.js').Model} model */
function showFacts(model) {
  const { info, contextLength } = model, { origin } = models, made = origin?.made
  const facts = [
    ['Name', titleOfModel()],
    ['Architecture', info.architecture],
    ['Parameters', count(info.parameters)],
    ['Size', bytes(info.file_bytes ?? info.weight_bytes)],
    ['Bits per weight', decimal(info.bpw, 2)],
    ...(made ? [['Before', `${bytes(made.before.bytes)}, ${decimal(made.before.bpw, 2)} bits`]] : []),
    ['Context', `${contextLength.toLocaleString('en')} of ${Number(info.config.n_ctx_train).toLocaleString('en')} tokens`],
    ['Loaded in', `${decimal(model.load_s, 1)} s`],
    ['Runs on', `${info.threads === 1 ? '1 thread' : `${info.threads} threads`}, ${info.variant === 'relaxed' ? 'relaxed SIMD' : 'SIMD'}`],
  ]
  $('facts').replaceChildren(...facts.map(([name, value]) => element('div', '', element('dt', '', name), element('dd', '', value))))
  $('smaller').hidden = info.bpw < FLOATS
  $('keep').hidden = !made
}

function showMeters() {
  const { model } = models
  if (!model) return
  const used = conversation.turns.findLast((turn) => turn.tokens !== undefined)?.tokens ?? 0, { wasm_bytes } = model.info.memory()
  $('context-text').textContent = `${used.toLocaleString('en')} of ${model.contextLength.toLocaleString('en')} tokens`
  $('context-meter').value = used / model.contextLength
  $('memory-text').textContent = bytes(wasm_bytes)
  $('memory-meter').value = wasm_bytes
}

// ---- making models smaller --------------------------------------------------------------------------------------------------------

/** @type {AbortController | undefined} */
let working
/** From an offer, which is given up; work under way stays in view, with its button. */
function backToTalk() {
  if (working) return
  quantizer.close()
  show('talk')
}
function leave() {
  show('talk')
  models.show()
  void quantizer.list()
}
const quantizer = new Quantizing({
  show, showError, hideError, announce, leave, options: quantizing,
  /** Shows that something is under way; the memory is needed. */
  begin(what, name) {
    hideError()
    $('models').close()
    working?.abort()
    models.cancel()
    models.unload()
    $('loading-title').textContent = what
    $('loading-name').textContent = name
    $('loading-figures').textContent = 'Starting…'
    $('progress').removeAttribute('value')
    $('cancel').disabled = false
    show('loading')
    $('loading-title').focus()
    return working = new AbortController()
  },
  end(mine) {
    if (mine !== working) return false
    working = undefined
    return true
  },
  open(source, name, { made, kept }) {
    $('models').close()
    show('talk')
    void models.open({ source, name, made, ...(kept ? { kind: 'made', key: name } : { kind: 'file' }) })
    $('prompt').focus()
  },
  progress(figures, done) {
    $('loading-figures').textContent = figures
    if (done !== undefined) $('progress').value = done
  },
})
function cancelWork() {
  if (!working) return
  $('cancel').disabled = true
  $('loading-figures').textContent = 'Cancelling…'
  working.abort()
}
$('cancel').addEventListener('click', cancelWork)
$('smaller').addEventListener('click', async () => {
  const { origin } = models
  closeDrawers()
  if (!origin) return
  const here = origin.kind === 'address' && origin.key ? await cache.file(origin.key).catch(() => undefined) : undefined // rather than fetched again
  void quantizer.offer(here ?? origin.source, origin.name)
})
$('keep').addEventListener('click', () => { if (models.origin?.made) save(models.origin.made.file) })

// ---- choosing models --------------------------------------------------------------------------------------------------------------

$('model-button').addEventListener('click', () => {
  models.show()
  void quantizer.list()
})

/** @param {FileList | File[]} list */
function openFiles(list) {
  const files = [...list].sort((a, b) => (a.name < b.name ? -1 : 1)) // parts of a split model are numbered
  if (files.length === 0) return
  quantizer.close()
  show('talk')
  void models.consider(files.length === 1 ? files[0] : files, files.length === 1 ? files[0].name : `${files[0].name} and ${files.length - 1} more`)
}

/** @param {File[]} list @param {string} name */
function openFolder(list, name) {
  try {
    const { kind, files } = modelIn(list, name)
    if (kind === 'gguf') return openFiles(files)
    $('models').close()
    void quantizer.offer(files, name, { folder: true })
  } catch (error) {
    showError(error)
  }
}

$('url-form').addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
  event.preventDefault()
  hideError()
  models.openAddress($('url').value.trim())
})
$('file').addEventListener('change', () => {
  const files = [...$('file').files]
  $('file').value = '' // so that the same file can be chosen again
  openFiles(files)
})
$('folder').addEventListener('change', () => {
  const files = [...$('folder').files]
  $('folder').value = ''
  hideError()
  if (files.length > 0) openFolder(files, folderOf(files))
})
$('folder-label').hidden = !('webkitdirectory' in HTMLInputElement.prototype)

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
    if (folder !== undefined) openFolder(files, folder)
    else if (files.length === 1 && /\.json$/i.test(files[0].name)) await sidebar.import(files[0])
    else openFiles(files)
  } catch (error) {
    showError(error)
  }
})

// ---- writing ----------------------------------------------------------------------------------------------------------------------

function fitPrompt() {
  const { style } = $('prompt')
  style.height = 'auto'
  style.height = `${Math.min($('prompt').scrollHeight + 2, 220)}px`
}
/** @param {string} text @returns {boolean} whether it could be said */
function say(text) {
  if (conversation.running || text.trim() === '') return false
  if (!valid()) {
    panel.open(true)
    valid()
    return false
  }
  if (!['ready', 'loading'].includes(models.state)) {
    models.show()
    void quantizer.list()
    announce('Choose a model first')
    return false
  }
  $('toast').hidden = true
  const completes = models.model && !models.model.info.chat_template
  void conversation.say(completes ? text : text.trim())
  return true
}
/** Whether the last conversation and its model have been looked for; a message that comes earlier waits for that. */
let started = false, early = false
function send() {
  early = !started
  if (early || !say($('prompt').value)) return
  $('prompt').value = ''
  fitPrompt()
}
$('ideas').append(...IDEAS.map((text) => {
  const idea = element('button', 'button idea', text)
  idea.setAttribute('type', 'button')
  idea.addEventListener('click', () => { if (say(text)) $('prompt').focus() })
  return idea
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

// ---- the sides --------------------------------------------------------------------------------------------------------------------

/** A side of the page that is a column where there is room, and else lies above the rest, which then waits. @param {string} id @param {string} room */
function side(id, room) {
  const media = matchMedia(`(min-width: ${room})`)
  const self = {
    /** @param {boolean} opened */
    open(opened) {
      const above = opened && !media.matches
      $(id).hidden = !opened
      $(`${id}-toggle`).setAttribute('aria-expanded', String(opened))
      if (above) for (const other of sides) if (other !== self && other.isAbove()) other.open(false)
      $('scrim').hidden = !sides.some((side) => side.isAbove())
      for (const place of ['sidebar', 'stage', 'panel']) $(place).inert = !$('scrim').hidden && !(place === id && above)
      if (above) $(`${id}-close`).focus()
    },
    isAbove: () => !media.matches && !$(id).hidden,
    close() {
      if (!self.isAbove()) return false
      self.open(false)
      $(`${id}-toggle`).focus()
      return true
    },
  }
  $(`${id}-toggle`).addEventListener('click', () => self.open($(id).hidden))
  $(`${id}-close`).addEventListener('click', () => self.close())
  media.addEventListener('change', () => self.open(media.matches))
  $(id).hidden = !media.matches
  $(`${id}-toggle`).setAttribute('aria-expanded', String(media.matches))
  return self
}
/** @type {ReturnType<typeof side>[]} */
const sides = []
const panel = side('panel', '76rem')
sides.push(side('sidebar', '54rem'), panel)
const closeDrawers = () => sides.some((side) => side.close())
$('scrim').addEventListener('click', closeDrawers)

addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || $('models').open) return
  if (closeDrawers()) return
  if (working) cancelWork()
  else conversation.stop()
})

// ---- start ------------------------------------------------------------------------------------------------------------------------

startSettings()
$('starting').hidden = true
show('talk')
async function start() {
  const last = kept.get('conversation')
  let found = false
  try {
    await openChat((last && await store.get(last)) || newChat())
    found = await models.start()
  } finally {
    started = true // also where the browser refuses what it keeps: later messages must not wait for ever
  }
  if (early) send()
  else if (!found) leave()
}
void start()
void sweep()
void install(serviceUrl, () => !$('prompt').value && !document.querySelector('.message'))
