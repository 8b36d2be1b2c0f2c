/** The program of a thread under Node. */
import { parentPort, workerData } from 'node:worker_threads'
import { serve } from './thread.js'

serve(workerData, () => parentPort?.postMessage('ready'))
