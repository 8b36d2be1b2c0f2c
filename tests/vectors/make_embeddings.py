#!/usr/bin/env python3
"""make_embeddings.py - writes embeddings.json: embeddings by tests/reference/llama.py (plain numpy, double precision) for models of
tests/js/tiny-model.js: the states behind the final norm, pooled as the file says, of length 1. Needs python3-numpy and node."""
import json, os, subprocess, sys, tempfile
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '../reference'))
from llama import Llama

U32, SMALL = 4, {'n_layers': 2, 'n_vocab': 384, 'd_model': 64, 'd_ff': 96, 'n_heads': 2, 'n_kv_heads': 1, 'type': 'F32'}
POOLING = {None: lambda h: h.mean(0), 1: lambda h: h.mean(0), 2: lambda h: h[0], 3: lambda h: h[-1]}
CASES = [('llama', None), ('llama', 1), ('llama', 2), ('qwen3', 3)]
TOKENS = [5, 77, 300, 12, 12, 201, 66, 150, 31, 8, 333, 90, 2, 45] * 3  # more than a pass

cases = []
with tempfile.TemporaryDirectory() as tmp:
    for arch, pooling in CASES:
        model = dict(SMALL, arch=arch, metadata=[] if pooling is None else [[f'{arch}.pooling_type', U32, pooling]])
        path, rows = os.path.join(tmp, 'm.gguf'), {}
        subprocess.run(['node', '--input-type=module', '-e', f"import {{ tinyModel }} from {json.dumps('file://' + os.path.join(HERE, '../js/tiny-model.js'))};"
                        f"import {{ writeFileSync }} from 'node:fs'; writeFileSync({json.dumps(path)}, tinyModel({json.dumps(model)}))"], check=True)
        Llama(path).logits(TOKENS, lambda name, x: rows.__setitem__(name, x))
        e = POOLING[pooling](rows['output.weight'])
        cases.append({'model': model, 'embedding': [round(x, 6) for x in (e / np.linalg.norm(e)).tolist()]})
lines = ',\n  '.join(json.dumps(c, separators=(',', ':')) for c in cases)
open(os.path.join(HERE, 'embeddings.json'), 'w').write(f'{{"by": "make_embeddings.py",\n "tokens": {json.dumps(TOKENS)},\n "cases": [\n  {lines}]}}\n')
