/**
 * <nibble-chat>: a conversation with a model, in one element.
 *
 *   <script type="module" src="…/element.js"></script>
 *   <nibble-chat model="model.gguf" system="You tell short stories."></nibble-chat>
 *
 * Attributes: model (URL; by default that of the small model that comes with Nibble, beside this file), system, placeholder, theme ("light",
 * "dark"; by default the system's), max-tokens, temperature, autoload (load now, not at the first message), worker-url (where worker.js is; must
 * be of the page's origin, so a page that takes this file from another host needs it; fetch-worker.js is taken from beside it), wasm-url (the folder
 * of the .wasm files), cache (keep the model in the browser for the next visit).
 * Properties: messages, model (any source of load(), such as a File), system, busy, loaded, workerUrl, fetchWorkerUrl. Methods: load(), send(text), stop(), clear().
 * Events, which bubble: nibble-load, nibble-progress, nibble-token, nibble-message (an answer is complete), nibble-error; see `detail`.
 * Parts: log, message, user, assistant, form, input, button, status, progress. Custom properties: --nibble-chat-… in the style below.
 *
 * The code of the engine is loaded with the first model. What the model writes becomes text and nothing else. Out of the document, an element gives up
 * its model and keeps its messages.
 */
import { NibbleError, isNibbleError } from '../js/errors.js'

/** @typedef {import('./client.js').Model} Model  @typedef {import('../js/chat.js').Message} Message */

/** Joined at run time, so that bundlers do not look for the files. */
const MODEL = ['Llama-Nibble-Stories-5M-Q4_0', 'gguf'].join('.')
const POLICY = 'nibble-chat'
/** Pixels from its end within which the log keeps to it. */
const NEAR = 40

const STYLE = `
  :host {
    display: flex; flex-direction: column; box-sizing: border-box; min-block-size: 12rem; block-size: 28rem; overflow: hidden; color-scheme: light dark;
    font: var(--nibble-chat-font, 1rem/1.5 system-ui, sans-serif); color: var(--nibble-chat-color, light-dark(#1c1b1a, #eceae6));
    background: var(--nibble-chat-background, light-dark(#fff, #1b1a19)); border: 1px solid var(--nibble-chat-border, light-dark(#d4d0ca, #45423e));
    border-radius: var(--nibble-chat-radius, 0.75rem);
  }
  :host([hidden]) { display: none }
  :host([theme=light]) { color-scheme: light }
  :host([theme=dark]) { color-scheme: dark }
  [part~=log] { flex: 1; min-block-size: 0; overflow-y: auto; padding: 1rem; display: flex; flex-direction: column; gap: 0.75rem; overscroll-behavior: contain }
  [part~=message] { white-space: pre-wrap; overflow-wrap: anywhere; max-inline-size: 100% }
  [part~=user] {
    align-self: flex-end; max-inline-size: 85%; padding: 0.4rem 0.8rem; border-radius: var(--nibble-chat-radius, 0.75rem);
    background: var(--nibble-chat-bubble, light-dark(#eae7e1, #33302d));
  }
  [part~=status] { padding: 0 1rem 0.25rem; font-size: 0.85em; min-block-size: 1.4em; overflow-wrap: anywhere }
  [part~=status].error { color: var(--nibble-chat-error, light-dark(#a3180f, #ff9d94)) }
  [part~=progress] { inline-size: 100%; accent-color: var(--nibble-chat-accent, light-dark(#8a3b12, #e59866)) }
  [part~=form] { display: flex; gap: 0.5rem; padding: 0.75rem; border-block-start: 1px solid var(--nibble-chat-border, light-dark(#d4d0ca, #45423e)) }
  [part~=input] {
    flex: 1; min-inline-size: 0; resize: none; field-sizing: content; max-block-size: 8lh; box-sizing: border-box; padding: 0.45rem 0.6rem; font: inherit; color: inherit; background: transparent;
    border: 1px solid var(--nibble-chat-field, light-dark(#85807a, #8c867f)); border-radius: calc(var(--nibble-chat-radius, 0.75rem) * 0.6);
  }
  [part~=input]::placeholder { color: light-dark(#6b6661, #a8a29a); opacity: 1 }
  [part~=button] {
    align-self: end; padding: 0.45rem 0.9rem; font: inherit; cursor: pointer; border: 1px solid transparent; border-radius: calc(var(--nibble-chat-radius, 0.75rem) * 0.6);
    color: var(--nibble-chat-accent-color, light-dark(#fff, #1b1a19)); background: var(--nibble-chat-accent, light-dark(#8a3b12, #e59866));
  }
  :focus-visible { outline: 2px solid var(--nibble-chat-accent, light-dark(#8a3b12, #e59866)); outline-offset: 2px }
`

/** One for all elements. @type {CSSStyleSheet | undefined} */
let sheet

function styleSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet()
    sheet.replaceSync(STYLE)
  }
  return sheet
}

/** The addresses that scripts of workers may have: those of elements of this page. @type {any} */
let policy

/**
 * Pages that require Trusted Types allow a policy of this name, or set the properties workerUrl and fetchWorkerUrl to a TrustedScriptURL of their own.
 * @param {string} url
 */
function trusted(url) {
  const { trustedTypes } = /** @type {any} */ (globalThis)
  try {
    policy ??= trustedTypes?.createPolicy(POLICY, { createScriptURL: (/** @type {string} */ text) => text })
  } catch {
    policy = null // not allowed here: it is either not needed, or the worker cannot be started, which is told
  }
  return policy ? policy.createScriptURL(url) : url
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name @param {Record<string, string>} [attributes] @param {(Node | string)[]} children
 */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  element.append(...children)
  return element
}

const absolute = (/** @type {string} */ url, base = document.baseURI) => new URL(url, base).href

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`

/** Where there is no document, such as on a server that renders pages, the module can be imported all the same. */
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {})

export class NibbleChat extends Base {
  static observedAttributes = ['model', 'placeholder', 'worker-url', 'wasm-url']

  /** @type {Message[]} */
  #messages = []
  /** Set by the property. @type {import('../js/source.js').Source | undefined} */
  #source = undefined
  /** @type {import('./client.js').LoadOptions['workerUrl']} */
  #workerUrl = undefined
  /** The same for fetch-worker.js, if that is not beside worker.js. @type {import('./client.js').LoadOptions['fetchWorkerUrl']} */
  fetchWorkerUrl = undefined
  /** @type {Promise<Model> | undefined} */
  #loading = undefined
  #loaded = false
  /** Ends the load, or gives up what was loaded. */
  #unload = () => {}
  /** Of the answer under way. @type {AbortController | undefined} */
  #answering = undefined

  constructor() {
    super()
    this.#log = make('div', { part: 'log', role: 'log', 'aria-label': 'Conversation', tabindex: '0' })
    this.#text = make('span')
    this.#progress = make('progress', { part: 'progress', 'aria-label': 'Loading the model', hidden: '' })
    this.#status = make('div', { part: 'status', role: 'status' }, this.#text, this.#progress)
    this.#input = make('textarea', { part: 'input', rows: '1', enterkeyhint: 'send', autocomplete: 'off' })
    this.#button = make('button', { part: 'button', type: 'submit' })
    const form = make('form', { part: 'form' }, this.#input, this.#button)
    const root = this.attachShadow({ mode: 'open', delegatesFocus: true })
    root.adoptedStyleSheets = [styleSheet()]
    root.append(this.#log, this.#status, form)
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      if (this.busy) this.stop()
      else this.#submit()
    })
    this.#input.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.stop()
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
      event.preventDefault()
      if (!this.busy) this.#submit()
    })
    this.#showPlaceholder()
    this.#showBusy()
  }

  /** @type {HTMLElement} */ #log
  /** @type {HTMLElement} */ #status
  /** @type {HTMLElement} */ #text
  /** @type {HTMLProgressElement} */ #progress
  /** @type {HTMLTextAreaElement} */ #input
  /** @type {HTMLButtonElement} */ #button

  connectedCallback() {
    if (this.hasAttribute('autoload')) this.load().catch(() => {}) // told by an event
  }

  disconnectedCallback() {
    // An element that is only being moved is back by then.
    queueMicrotask(() => {
      if (!this.isConnected) this.#release()
    })
  }

  /** @param {string} name @param {string | null} before @param {string | null} value */
  attributeChangedCallback(name, before, value) {
    if (name === 'placeholder') return this.#showPlaceholder()
    if (before === value) return
    if (name === 'model') this.#source = undefined
    this.#changed()
  }

  /** What was loaded is not what is wanted any more. */
  #changed() {
    this.#release()
    if (this.isConnected && this.hasAttribute('autoload')) this.load().catch(() => {})
  }

  #release() {
    this.#answering?.abort()
    this.#unload()
  }

  /** The conversation, without the system's message. Setting it stops an answer under way. @returns {Message[]} */
  get messages() {
    return structuredClone(this.#messages)
  }

  set messages(messages) {
    const copy = structuredClone(messages)
    if (!Array.isArray(copy) || !copy.every((m) => (m?.role === 'user' || m?.role === 'assistant') && typeof m.content === 'string')) {
      throw new NibbleError('E_ARGUMENT', "messages must be an array of {role: 'user' | 'assistant', content: string}; the system's message is an attribute")
    }
    this.#answering?.abort()
    this.#messages = copy
    this.#log.replaceChildren(...copy.map((m) => this.#bubble(m.role, /** @type {string} */ (m.content))))
    this.#scroll(true)
  }

  /** The source of the model. @returns {import('../js/source.js').Source} */
  get model() {
    return this.#source ?? this.getAttribute('model') ?? new URL(MODEL, import.meta.url).href
  }

  set model(source) {
    if (typeof source === 'string') this.setAttribute('model', source)
    else {
      this.#source = source
      this.#changed()
    }
  }

  get system() {
    return this.getAttribute('system') ?? ''
  }

  set system(text) {
    this.setAttribute('system', text)
  }

  /** Where worker.js is, if not beside this file. @returns {import('./client.js').LoadOptions['workerUrl']} */
  get workerUrl() {
    return this.#workerUrl ?? this.getAttribute('worker-url') ?? undefined
  }

  set workerUrl(url) {
    this.#workerUrl = url
    this.#changed()
  }

  /** Whether an answer is under way, or the model is awaited for one. */
  get busy() {
    return this.#answering !== undefined
  }

  get loaded() {
    return this.#loaded
  }

  /** Loads the model, unless it is there. @returns {Promise<Model>} */
  load() {
    if (this.#loading) return this.#loading
    const controller = new AbortController()
    const loading = this.#open(controller.signal)
    this.#loading = loading
    this.#unload = () => {
      this.#unload = () => {}
      this.#loading = undefined
      this.#loaded = false
      controller.abort()
      this.#showStatus('')
      loading.then((model) => model.dispose(), () => {})
    }
    loading.then((model) => {
      if (this.#loading !== loading) return
      this.#loaded = true
      this.#showStatus('')
      this.#tell('load', { info: model.info, model })
    }, (error) => {
      if (this.#loading !== loading) return // given up meanwhile
      this.#unload()
      this.#fail(error)
    })
    return loading
  }

  /** @param {AbortSignal} signal @returns {Promise<Model>} */
  async #open(signal) {
    this.#showStatus('Loading the model …')
    const workerUrl = this.workerUrl, wasm = this.getAttribute('wasm-url')
    const source = this.model
    const { load } = await import('./client.js')
    return load(source, {
      signal,
      ...(wasm !== null && { wasm }),
      cache: this.hasAttribute('cache'),
      // Without an address, client.js knows its own; where Trusted Types are required it needs one that is trusted.
      ...(typeof workerUrl === 'string' ? { workerUrl: trusted(absolute(workerUrl)), fetchWorkerUrl: trusted(absolute('fetch-worker.js', absolute(workerUrl))) } : workerUrl && { workerUrl }),
      ...(this.fetchWorkerUrl && { fetchWorkerUrl: this.fetchWorkerUrl }),
      onProgress: (progress) => {
        const { loaded, total } = progress
        this.#showStatus(total ? `Loading the model: ${megabytes(loaded)} of ${megabytes(total)}` : `Loading the model: ${megabytes(loaded)}`, total ? loaded / total : undefined)
        this.#tell('progress', progress)
      },
    })
  }

  /**
   * Says something to the model. Resolves to its answer, or to undefined where stop() came before its first word; rejects with what went wrong.
   * @param {string} text @returns {Promise<Message | undefined>}
   */
  async send(text) {
    if (typeof text !== 'string' || text.trim() === '') throw new NibbleError('E_ARGUMENT', 'there is nothing to send')
    if (this.busy) throw new NibbleError('E_ARGUMENT', 'an answer is under way; stop() it first')
    const controller = this.#answering = new AbortController()
    const { signal } = controller
    const messages = this.#messages
    const question = { role: 'user', content: text }
    messages.push(question)
    const asked = this.#bubble('user', text), answer = this.#bubble('assistant', '')
    this.#log.append(asked, answer)
    this.#log.setAttribute('aria-busy', 'true')
    this.#scroll(true)
    this.#showBusy()
    const message = { role: 'assistant', content: '' }
    try {
      await this.#answer(messages, message, answer, signal)
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      if (this.#answering === controller) this.#answering = undefined
      this.#log.removeAttribute('aria-busy')
      if (message.content === '') { // a question without an answer is no part of a conversation
        if (messages.at(-1) === question) messages.pop()
        asked.remove()
        answer.remove()
      } else messages.push(message)
      this.#showBusy()
    }
    if (message.content === '') return undefined
    if (messages === this.#messages) this.#tell('message', { message: { ...message }, stopped: signal.aborted })
    return { ...message }
  }

  /** @param {Message[]} messages @param {{content: string}} message  filled with the answer @param {HTMLElement} bubble @param {AbortSignal} signal */
  async #answer(messages, message, bubble, signal) {
    const model = await Promise.race([this.load(), new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))])
    const number = (/** @type {string} */ name) => (this.hasAttribute(name) ? Number(this.getAttribute(name)) : undefined)
    const all = this.system === '' ? messages : [{ role: 'system', content: this.system }, ...messages]
    const words = document.createTextNode('')
    bubble.append(words)
    try {
      for await (const chunk of await model.chat.completions.create({ messages: all, stream: true, max_tokens: number('max-tokens'), temperature: number('temperature'), signal })) {
        if (signal.aborted) break // the worker was ahead
        const text = chunk.choices[0]?.delta.content ?? ''
        if (text === '') continue
        message.content += text
        const follows = this.#follows()
        words.appendData(text)
        this.#scroll(follows)
        this.#tell('token', { text })
      }
    } catch (error) {
      if (!signal.aborted) this.#fail(error)
      throw error
    }
  }

  /** Ends the answer under way, which keeps what it has; before its first word, while the model loads, it ends that, too. */
  stop() {
    if (!this.#answering) return
    this.#answering.abort()
    if (!this.#loaded) this.#unload()
  }

  /** Begins anew. */
  clear() {
    this.messages = []
    this.#showStatus('')
  }

  #submit() {
    const text = this.#input.value
    if (text.trim() === '') return
    this.#input.value = ''
    this.send(text).then((answer) => answer, () => undefined).then((answer) => { // failures are told by events
      if (answer === undefined && this.#input.value === '') this.#input.value = text
    })
  }

  /** @param {string} name @param {object} detail */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(`nibble-${name}`, { detail, bubbles: true, composed: true }))
  }

  /** @param {unknown} error */
  #fail(error) {
    const { message } = /** @type {Error} */ (error)
    this.#showStatus(message, undefined, true)
    this.#tell('error', { error, code: isNibbleError(error) ? error.code : 'E_INTERNAL', message })
  }

  /** @param {string} role @param {string} text */
  #bubble(role, text) {
    return make('div', { part: `message ${role}` }, ...(text === '' ? [] : [text]))
  }

  #showPlaceholder() {
    const text = this.getAttribute('placeholder') ?? 'Message'
    this.#input.placeholder = text
    this.#input.setAttribute('aria-label', text)
  }

  #showBusy() {
    this.#button.textContent = this.busy ? 'Stop' : 'Send'
  }

  /** @param {string} text @param {number} [part]  of a load that is done @param {boolean} [failed] */
  #showStatus(text, part, failed = false) {
    this.#text.textContent = text
    this.#progress.hidden = part === undefined
    if (part !== undefined) this.#progress.value = part
    this.#status.classList.toggle('error', failed)
  }

  /** Whether the end of the log is in view. */
  #follows() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log
    return scrollHeight - scrollTop - clientHeight < NEAR
  }

  /** @param {boolean} wanted */
  #scroll(wanted) {
    if (wanted) this.#log.scrollTop = this.#log.scrollHeight
  }
}

if (globalThis.customElements && !customElements.get('nibble-chat')) customElements.define('nibble-chat', NibbleChat)
