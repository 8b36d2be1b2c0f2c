/**
 * The conversation on the page: what was said, and a model that says more. Text of models and people goes into text nodes, never into markup.
 */
import { MarkdownView } from './markdown.js'
import { button, element, iconButton } from './nodes.js'
import { failure, rate, seconds } from './words.js'

/**
 * @typedef {import('../web/client.js').Model} Model
 * @typedef {import('../web/client.js').Message} Message
 * @typedef {import('./store.js').Chat} Chat
 * @typedef {import('./store.js').Turn} Turn
 *
 * @typedef {object} Page  what the rest of the page does
 * @property {(signal: AbortSignal) => Promise<Model>} model  the one that answers, once it is there
 * @property {() => Record<string, number | undefined>} settings
 * @property {(state: {busy: boolean, speed?: string, announce?: string}) => void} onState
 * @property {(chat: Chat) => Promise<void>} save
 * @property {(what: string, restore: () => void) => void} offerUndo
 */

/** Milliseconds between savings of an answer that is coming. */
const SAVING = 1000

/** The first words of what was asked. @param {string} text */
function titleOf(text) {
  const line = text.trim().split('\n', 1)[0]
  return line.length <= 60 ? line : `${line.slice(0, 60).replace(/\s+\S*$/, '')}…`
}

/** Pairs of questions and answers, and the last question. What failed is not said again. @param {Turn[]} turns @returns {Message[]} */
function messagesOf(turns) {
  return turns.flatMap(({ role, content }, i) => {
    const next = turns[i + 1]
    if (role !== 'user' || (next && !(next.role === 'assistant' && next.content))) return []
    return [{ role, content }, ...(next ? [{ role: next.role, content: next.content }] : [])]
  })
}

export class Conversation {
  /** @param {{messages: HTMLElement, scroll: HTMLElement}} places @param {Page} page */
  constructor({ messages, scroll }, page) {
    this.place = messages
    this.scroller = scroll
    this.page = page
    /** @type {Chat | undefined} */
    this.chat = undefined
    /** @type {AbortController | undefined} */
    this.running = undefined
    /** The answer under way; never rejects. @type {Promise<void>} */
    this.done = Promise.resolve()
    // Reading further up is not disturbed by new text.
    this.atEnd = true
    scroll.addEventListener('scroll', () => { this.atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40 })
  }

  /** @returns {Turn[]} */
  get turns() {
    return this.chat?.turns ?? []
  }

  stop() {
    this.running?.abort()
  }

  /** Stops, and waits until what came of it is part of the conversation. */
  async stopped() {
    this.stop()
    await this.done
  }

  /** @param {Chat} chat */
  async open(chat) {
    await this.stopped()
    this.chat = chat
    this.render()
    this.page.onState({ busy: false })
  }

  follow() {
    if (this.atEnd) this.scroller.scrollTop = this.scroller.scrollHeight
  }

  render() {
    this.place.replaceChildren(...this.turns.map((turn) => this.article(turn).article))
    this.atEnd = true
    this.follow()
  }

  // ---- what is shown --------------------------------------------------------------------------------------------------------------

  /** @param {Turn} turn */
  article(turn) {
    const { role, content, given = '' } = turn
    const who = role === 'user' ? 'You' : role === 'assistant' ? 'Answer' : 'Text'
    const body = element('div', 'body'), note = element('p', 'note'), actions = element('div', 'actions')
    const article = element('article', `message ${role}`, element('h2', 'hidden', who), body, element('div', 'under', actions, note))
    const view = role === 'assistant' ? new MarkdownView(body) : undefined
    if (role === 'text') body.append(element('span', 'given', given))
    if (view) view.append(content)
    else body.append(content)
    note.textContent = turn.note ?? ''
    if (turn.failed) {
      note.classList.add('failed')
      note.setAttribute('role', 'alert')
    }
    const copy = iconButton('copy', 'Copy', 'copy', () => {
      void navigator.clipboard.writeText(given + turn.content).then(() => this.page.onState({ busy: !!this.running, announce: 'Copied' }), () => {})
      copy.classList.add('did')
      setTimeout(() => copy.classList.remove('did'), 1200)
    })
    if (role === 'assistant' || given + content) actions.append(copy)
    if (role !== 'assistant') actions.append(iconButton('edit', 'Edit', 'edit', () => this.edit(turn, /** @type {HTMLElement} */ (actions.closest('article')))))
    if (role !== 'user') actions.append(iconButton('again', turn.failed ? 'Try again' : 'Answer again', 'regenerate', () => void this.regenerate(turn)))
    return { article, body, view, note }
  }

  /** @param {Turn} turn @param {HTMLElement} article */
  edit(turn, article) {
    if (article.querySelector('.editor')) return
    const area = document.createElement('textarea'), editor = element('form', 'editor', area)
    const close = () => {
      editor.replaceWith(.../** @type {NodeListOf<HTMLElement>} */ (hidden))
      const edit = /** @type {HTMLElement | null} */ (article.querySelector('[data-action="edit"]'))
      edit?.focus()
    }
    const save = button('Send again', 'button primary', () => {
      if (area.value.trim() === '') return area.focus()
      void this.change(turn, area.value)
    })
    const cancel = button('Cancel', 'button', close)
    save.dataset.action = 'save-edit'
    cancel.dataset.action = 'cancel-edit'
    area.value = turn.role === 'text' ? turn.given ?? '' : turn.content
    area.ariaLabel = 'Your message'
    area.rows = Math.min(12, Math.max(2, area.value.split('\n').length))
    area.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') close()
      else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && !matchMedia('(pointer: coarse)').matches) save.click()
      else return
      event.preventDefault()
      event.stopPropagation()
    })
    editor.addEventListener('submit', (event) => event.preventDefault())
    editor.append(element('div', 'row', save, cancel))
    const hidden = article.querySelectorAll('.body, .under')
    hidden[0].before(editor)
    for (const e of hidden) e.remove()
    area.focus()
  }

  // ---- what is said ---------------------------------------------------------------------------------------------------------------

  /** Adds what the person wrote, and what the model makes of it as it comes. @param {string} text */
  async say(text) {
    const { chat } = this
    if (!chat || this.running) return
    chat.title ||= titleOf(text)
    chat.turns.push({ role: 'user', content: text })
    this.render()
    await this.answer(chat)
  }

  /** Answers again what was answered. @param {Turn} turn */
  async regenerate(turn) {
    const question = turn.role === 'text' ? turn : this.turns[this.turns.indexOf(turn) - 1]
    if (question) await this.change(question, turn.role === 'text' ? turn.given ?? '' : question.content)
  }

  /** Goes on from a turn that reads otherwise; what came behind it is dropped, and can be had back. @param {Turn} turn @param {string} text */
  async change(turn, text) {
    const { chat } = this
    await this.stopped()
    const at = this.turns.indexOf(turn)
    if (!chat || chat !== this.chat || at < 0) return
    const before = structuredClone(chat.turns)
    chat.turns.splice(at, Infinity, { role: 'user', content: text })
    this.render()
    this.page.offerUndo(before.length - at > 2 ? 'What came behind it was dropped.' : 'The former answer was dropped.', () => void this.restore(chat, before))
    await this.answer(chat)
  }

  /** @param {Chat} chat @param {Turn[]} turns */
  async restore(chat, turns) {
    if (chat === this.chat) await this.stopped()
    chat.turns = turns
    if (chat === this.chat) this.render()
    await this.page.save(chat)
    this.page.onState({ busy: !!this.running })
  }

  /** Lets the model answer the last turn. @param {Chat} chat */
  answer(chat) {
    const running = this.running = new AbortController()
    this.place.setAttribute('aria-busy', 'true') // read out when it is whole
    this.page.onState({ busy: true })
    return this.done = this.generate(chat, running.signal).then(async (announce) => {
      this.running = undefined
      this.place.removeAttribute('aria-busy')
      chat.updated = Date.now()
      await this.page.save(chat)
      this.page.onState({ busy: false, announce })
    })
  }

  /** @param {Chat} chat @param {AbortSignal} signal @returns {Promise<string>} what came of it */
  async generate(chat, signal) {
    const question = chat.turns[chat.turns.length - 1]
    /** @type {Turn} */
    let turn = { role: 'assistant', content: '' }
    chat.turns.push(turn)
    let shown = this.article(turn)
    const show = () => {
      shown.article.setAttribute('aria-busy', 'true')
      this.place.append(shown.article)
      this.follow()
    }
    show()
    let pieces = 0, first = 0, saved = performance.now(), waiting = '', frame = 0
    // Once for every picture that the screen shows; a page in the background shows none.
    const flush = () => {
      frame = 0
      if (shown.view) shown.view.append(waiting)
      else shown.body.append(waiting)
      waiting = ''
      this.follow()
    }
    await this.page.save(chat)
    try {
      const model = await this.page.model(signal), { seed = crypto.getRandomValues(new Uint32Array(1))[0], ...options } = this.page.settings() // a seed short enough to be typed again
      const chats = !!model.info.chat_template
      if (!chats) { // it goes on with the text
        turn = { role: 'text', given: question.content, content: '' }
        chat.turns.splice(-2, 2, turn)
        this.place.lastElementChild?.previousElementSibling?.remove()
        shown.article.remove()
        shown = this.article(turn)
        show()
      }
      turn.model = model.info.name
      const messages = [...(chat.system ? [{ role: 'system', content: chat.system }] : []), ...messagesOf(chat.turns.slice(0, -1))]
      const stream = chats
        ? await model.chat.completions.create({ ...options, seed, messages, stream: true, signal })
        : await model.completions.create({ ...options, seed, prompt: question.content, stream: true, signal })
      for await (const chunk of stream) {
        const [choice] = chunk.choices
        const delta = 'delta' in choice ? choice.delta.content ?? '' : choice.text
        turn.content += delta
        waiting += delta
        frame ||= requestAnimationFrame(flush)
        if (chunk.usage) {
          turn.note = summary(chunk, choice.finish_reason, options.max_tokens)
          turn.tokens = chunk.usage.total_tokens
        }
        const now = performance.now()
        first ||= now
        if (now > first) this.page.onState({ busy: true, speed: `${rate(pieces / (now - first) * 1000)} tokens/s` })
        pieces++
        if (now - saved > SAVING) {
          saved = now
          void this.page.save(chat)
        }
      }
    } catch (error) {
      if (/** @type {any} */ (error).code === 'E_ABORTED') turn.note = `Stopped after ${pieces} ${pieces === 1 ? 'token' : 'tokens'}`
      else {
        turn.note = failure(error)
        turn.failed = true
      }
    }
    cancelAnimationFrame(frame)
    flush()
    const whole = this.article(turn)
    shown.article.removeAttribute('aria-busy')
    // The text stays where it is, for those who read or select it.
    shown.article.lastElementChild?.replaceWith(/** @type {Element} */ (whole.article.lastElementChild))
    this.follow()
    return `${signal.aborted || turn.failed ? '' : 'The answer is complete. '}${turn.note ?? ''}`
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
    finish === 'length' && (n === limit ? 'limit reached' : 'context full'),
  ].filter(Boolean).join(' · ')
}
