#!/usr/bin/env python3
"""make_imatrix.py - writes imatrix.json: statistics of the inputs of matrices, computed by tests/reference/imatrix.py.

The models are those of tests/js/tiny-model.js, the samples pseudo-random tokens. Of every matrix the sums over all columns and those of three of them
are kept. Needs node and python3-numpy.
"""
import hashlib, json, os, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '../reference'))
from imatrix import measure
from llama import Llama

MODELS = [{'vocab': 'spm', 'n_layers': 2, 'd_ff': 320}, {'arch': 'qwen2', 'n_layers': 1, 'tied': True}, {'arch': 'qwen3', 'n_layers': 1, 'head_dim': 128, 'type': 'F16'}]
N_SAMPLES, N_CTX, COLUMNS = 3, 40, [0, 77, 255]

cases = []
with tempfile.TemporaryDirectory() as tmp:
    path = os.path.join(tmp, 'model.gguf')
    for m in MODELS:
        subprocess.run(['node', '--input-type=module', '-e', f"import {{tinyModel}} from {json.dumps('file://' + os.path.join(HERE, '../js/tiny-model.js'))};"
                        f"import {{writeFileSync}} from 'node:fs'; writeFileSync({json.dumps(path)}, tinyModel({json.dumps(m)}))"], check=True)
        samples = [[(97 * i + 31 * t + t * t) % 500 for t in range(N_CTX)] for i in range(N_SAMPLES)]
        entries = {}
        for name, (n, s, q) in measure(Llama(path), samples).items():
            entries[name] = {'n': n, 'sums': [float(f'{x:.9g}') for x in (s.sum(), *s[COLUMNS])], 'squares': [float(f'{x:.9g}') for x in (q.sum(), *q[COLUMNS])]}
        cases.append({'model': m, 'sha256': hashlib.sha256(open(path, 'rb').read()).hexdigest(), 'samples': samples, 'entries': entries})
with open(os.path.join(HERE, 'imatrix.json'), 'w') as f:
    f.write('{"by": "make_imatrix.py", "columns": %s, "cases": [\n' % json.dumps(COLUMNS))
    f.write(',\n'.join('{"model": %s, "sha256": %s,\n "samples": %s,\n "entries": {\n%s}}' % (
        json.dumps(c['model']), json.dumps(c['sha256']), json.dumps(c['samples'], separators=(',', ':')),
        ',\n'.join(f'  {json.dumps(k)}: {json.dumps(v)}' for k, v in c['entries'].items())) for c in cases))
    f.write('\n]}\n')
