/** Files and folders that people pick or drop. */

/** More files than any model has. */
const MOST = 2000

/** @param {FileSystemDirectoryEntry} folder @returns {Promise<File[]>} the files right in a folder, and in those below it that models have */
async function filesOf(folder) {
  const reader = folder.createReader()
  /** @type {File[]} */
  const files = []
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)) // some at a time
    if (entries.length === 0) return files
    for (const entry of entries) {
      if (entry.isFile) files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)))
      if (files.length > MOST) throw new Error(`the folder ${folder.name} holds more than ${MOST} files; choose the one with the model in it`)
    }
  }
}

/**
 * What was dropped: files, or the folder it is.
 * @param {DataTransfer} transfer
 * @returns {Promise<{files: File[], folder?: string}>}
 */
export async function dropped(transfer) {
  const files = [...transfer.files]
  const [entry] = [...transfer.items].map((item) => item.webkitGetAsEntry?.()) // before the first await: it is gone then
  if (!entry?.isDirectory) return { files }
  return { files: await filesOf(/** @type {FileSystemDirectoryEntry} */ (entry)), folder: entry.name }
}

/** The name of the folder whose files these are. @param {File[]} files */
export const folderOf = (files) => files[0]?.webkitRelativePath.replace(/\/.*$/, '') || 'the folder'

/**
 * What a folder holds: the files of one model of Hugging Face, or GGUF files.
 * @param {File[]} files @param {string} name
 * @returns {{kind: 'gguf' | 'model', files: File[]}}
 */
export function modelIn(files, name) {
  // Its own files, and not those of folders below it.
  const own = files.filter(({ webkitRelativePath: path }) => path.split('/').length <= 2 || /^[^/]+\/additional_chat_templates\/[^/]+$/.test(path))
  if (own.some((file) => file.name === 'config.json')) return { kind: 'model', files: own }
  const gguf = own.filter((file) => /\.gguf$/i.test(file.name))
  if (gguf.length > 0) return { kind: 'gguf', files: gguf }
  throw Object.assign(new Error(`${name} holds no model: there is neither a config.json with .safetensors files nor a .gguf file in it`))
}
