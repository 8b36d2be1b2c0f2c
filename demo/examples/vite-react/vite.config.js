import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

/** An isolated page may use threads. */
const headers = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

export default defineConfig({
  plugins: [react()],
  optimizeDeps: { exclude: ['nibble-llm'] }, // it finds its worker and modules beside itself
  server: { headers },
  preview: { headers },
})
