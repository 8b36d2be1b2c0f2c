import { checkReport, reportCsv, reportHtml } from '../quantize/report.js'
import { JSON_OPTION, UsageError } from './options.js'
import { readJson, say, size } from './common.js'
import { writeWhole } from './files.js'

/** @type {import('./options.js').Command} */
export default {
  summary: 'a page about what the quantizer did, from its report in JSON; several runs in one table',
  usage: 'RUN.json [MORE.json …] -o R.html [options]',
  details: 'RUN.json is what `nibble quantize … --report RUN.json` writes. The page needs nothing else and opens without a network.',
  positionals: [1, 64],
  options: {
    ...JSON_OPTION,
    output: { type: 'string', value: 'F', short: 'o', help: 'the page to write' },
    csv: { type: 'string', value: 'F', help: 'write the tensors as CSV' },
    name: { type: 'string', value: 'N', multiple: true, help: 'what the runs are called in the table, in their order' },
  },

  async run({ values, args }) {
    if (values.output === undefined && values.csv === undefined) throw new UsageError('-o or --csv is missing')
    if ((values.name ?? []).length > args.length) throw new UsageError('there are more names than runs')
    const reports = await Promise.all(args.map(async (path, i) => {
      const report = checkReport(await readJson(path))
      return { ...report, name: values.name?.[i] ?? report.name }
    }))
    const written = []
    for (const [path, data] of [[values.output, values.output === undefined ? '' : await reportHtml(reports)], [values.csv, values.csv === undefined ? '' : reportCsv(reports)]]) {
      if (path === undefined) continue
      await writeWhole(path, data)
      written.push({ path, bytes: Buffer.byteLength(data) })
    }
    if (!values.json) for (const { path, bytes } of written) say(`wrote ${path}, ${size(bytes)}`)
    return { written, runs: reports.map(({ name, output, gates }) => ({ name: name ?? output.name, passed: gates?.passed ?? null })) }
  },
}
