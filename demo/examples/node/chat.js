// node chat.js ["What you want to say"] [model.gguf]
import { load } from 'nibble-llm'

const [question = 'Write a story about a boat.', file] = process.argv.slice(2)
const model = await load(file ?? new URL(import.meta.resolve('nibble-llm/demo/model/Llama-Nibble-Stories-5M-Q4_0.gguf')))
const reply = await model.chat.completions.create({ messages: [{ role: 'user', content: question }], max_tokens: 300, stream: true })
for await (const chunk of reply) process.stdout.write(chunk.choices[0]?.delta.content ?? '')
process.stdout.write('\n')
await model.dispose()
