import { load } from 'nibble-llm/web'
import model from 'nibble-llm/demo/model/Llama-Nibble-Stories-5M-Q4_0.gguf?url' // or the address of any other
import { useEffect, useRef, useState } from 'react'
import { createRoot } from 'react-dom/client'

/** A model, loaded while the component is there. */
function useModel(url) {
  const [state, setState] = useState({ progress: 0 })
  useEffect(() => {
    const controller = new AbortController(), { signal } = controller
    const loading = load(url, { signal, onProgress: ({ loaded, total }) => setState({ progress: total ? loaded / total : 0 }) })
    loading.then((model) => signal.aborted || setState({ model, progress: 1 }), (error) => signal.aborted || setState({ error, progress: 0 }))
    return () => {
      controller.abort()
      loading.then((model) => model.dispose(), () => {})
    }
  }, [url])
  return state
}

function Chat() {
  const { model: llm, progress, error } = useModel(model)
  const [messages, setMessages] = useState([])
  const [answer, setAnswer] = useState(null) // as far as it came
  const [failure, setFailure] = useState(null)
  const controller = useRef(null)

  async function send(form) {
    const asked = [...messages, { role: 'user', content: form.get('text') }]
    setMessages(asked)
    setFailure(null)
    controller.current = new AbortController()
    let content = ''
    try {
      for await (const chunk of await llm.chat.completions.create({ messages: asked, max_tokens: 300, stream: true, signal: controller.current.signal })) {
        content += chunk.choices[0]?.delta.content ?? ''
        setAnswer(content)
      }
    } catch (error) {
      if (error.code !== 'E_ABORTED') setFailure(error)
    }
    if (content) setMessages([...asked, { role: 'assistant', content }])
    setAnswer(null)
  }

  if (error) return <p role="alert">{error.message}</p>
  if (!llm) return <progress value={progress} aria-label="Loading the model" />
  return (
    <main>
      <div role="log">
        {messages.map((message, i) => <p key={i} className={message.role}>{message.content}</p>)}
        {answer !== null && <p className="assistant">{answer}</p>}
      </div>
      {failure && <p role="alert">{failure.message}</p>}
      <form onSubmit={(event) => {
        event.preventDefault()
        send(new FormData(event.currentTarget))
        event.currentTarget.reset()
      }}>
        <input name="text" aria-label="Message" required autoComplete="off" />
        {answer === null ? <button>Send</button> : <button type="button" onClick={() => controller.current.abort()}>Stop</button>}
      </form>
    </main>
  )
}

createRoot(document.getElementById('root')).render(<Chat />)
