/**
 * The conversation on the page: what was said, and a model that says more. Text of models and people goes into text nodes, never into markup.
 */
import { failure, rate, seconds } from './words.js'

/**
 * @typedef {import('../web/client.js').Model} Model
 * @typedef {import('../web/client.js').Message} Message
 * @typedef {{system: string, temperature?: number, top_p?: number, max_tokens?: number, seed?: number}} Settings
 */

/** @param {string} tag @param {string} className @param {string} [text] */
function element(tag, className, text) {
  const e = document.createElement(tag)
  e.className = className
  if (text !== undefined) e.textContent = text
  return e
}

export class Conversation {
  /**
   * @param {{messages: HTMLElement, scroll: HTMLElement}} places
   * @param {() => Settings} settings
   * @param {(state: {busy: boolean, speed?: string, announce?: string}) => void} onState
   */
  constructor({ messages, scroll }, settings, onState) {
    this.place = messages
    this.scroller = scroll
    this.settings = settings
    this.onState = onState
    /** @type {Model | undefined} */
    this.model = undefined
    /** @type {Message[]} */
    this.history = []
    /** @type {AbortController | undefined} */
    this.running = undefined
    // Reading further up is not disturbed by new text.
    this.atEnd = true
    scroll.addEventListener('scroll', () => { this.atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40 })
  }

  get chats() {
    return !!this.model?.info.chat_template
  }

  get empty() {
    return this.place.childElementCount === 0
  }

  stop() {
    this.running?.abort()
  }

  clear() {
    this.stop()
    this.running = undefined // what still comes of it is no part of the next conversation
    this.history = []
    this.place.replaceChildren()
    this.atEnd = true
  }

  follow() {
    if (this.atEnd) this.scroller.scrollTop = this.scroller.scrollHeight
  }

  /** @param {string} who @param {string} kind @param {string} text */
  add(who, kind, text) {
    const article = element('article', `message ${kind}`)
    article.append(element('h3', 'who', who))
    const body = element('div', 'body', text)
    article.append(body)
    this.place.append(article)
    this.atEnd = true
    this.follow()
    return { article, body }
  }

  /** Adds what the person wrote, and what the model makes of it as it comes. @param {string} text */
  async say(text) {
    const { model } = this
    if (!model || this.running) return
    const { system, ...options } = this.settings()
    options.seed ??= crypto.getRandomValues(new Uint32Array(1))[0] // short enough to be typed again
    const running = this.running = new AbortController()
    const { signal } = running
    /** Tells of this conversation only: clear() begins another one. @param {Parameters<typeof this.onState>[0]} state */
    const tell = (state) => { if (this.running === running) this.onState(state) }
    tell({ busy: true })

    let shown
    if (this.chats) {
      this.add('You', 'user', text)
      shown = this.add('Model', 'assistant', '')
    } else {
      shown = this.add('Text', 'text', '')
      shown.body.append(element('span', 'given', text))
    }
    const { article, body } = shown
    article.setAttribute('aria-busy', 'true') // read out when it is whole
    const answer = document.createTextNode('')
    body.append(answer)
    const note = element('p', 'note')
    const messages = [...this.history, { role: 'user', content: text }]
    let content = '', pieces = 0, first = 0
    try {
      const stream = this.chats
        ? await model.chat.completions.create({ ...options, messages: system ? [{ role: 'system', content: system }, ...messages] : messages, stream: true, signal })
        : await model.completions.create({ ...options, prompt: text, stream: true, signal })
      for await (const chunk of stream) {
        const [choice] = chunk.choices
        const delta = 'delta' in choice ? choice.delta.content ?? '' : choice.text
        content += delta
        answer.appendData(delta)
        if (chunk.usage) note.textContent = summary(chunk, choice.finish_reason, options.max_tokens)
        const now = performance.now()
        first ||= now
        if (now > first) tell({ busy: true, speed: `${rate(pieces / (now - first) * 1000)} tokens/s` })
        pieces++
        this.follow()
      }
    } catch (error) {
      if (/** @type {any} */ (error).code === 'E_ABORTED') note.textContent = `Stopped after ${pieces} ${pieces === 1 ? 'token' : 'tokens'}`
      else {
        note.textContent = failure(error)
        note.classList.add('failed')
        note.setAttribute('role', 'alert')
      }
    }
    article.removeAttribute('aria-busy')
    article.append(note)
    if (this.running !== running) return
    // What was said stays part of the conversation, also when it was cut off; a question that failed does not.
    this.running = undefined
    if (content) this.history = [...messages, { role: 'assistant', content }]
    this.follow()
    this.onState({ busy: false, announce: note.textContent ?? '' })
  }
}

/**
 * How a generation went, in a line.
 * @param {{usage?: import('../js/completions.js').Usage, timings?: import('../js/completions.js').Timings, seed?: number | bigint}} last  its last chunk
 * @param {string | null} finish @param {number | undefined} limit
 */
function summary({ usage, timings, seed }, finish, limit) {
  if (!usage || !timings) return ''
  const n = usage.completion_tokens
  return [
    `${n} ${n === 1 ? 'token' : 'tokens'}`,
    n > 1 && `${rate(timings.decode_tps)} tokens/s`,
    `prompt: ${usage.prompt_tokens} tokens${timings.prompt_n < usage.prompt_tokens ? `, ${timings.prompt_n} new,` : ''} in ${seconds(timings.prefill_s)}`,
    `seed ${seed}`,
    finish === 'length' && (n === limit ? 'ended at the limit of tokens' : 'ended where the context is full'),
  ].filter(Boolean).join(' · ')
}
