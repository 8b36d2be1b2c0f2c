#!/usr/bin/env python3
"""make_logits.py - writes logits.json: log-probabilities by native llama.cpp for the models of tests/js/tiny-model.js.

  make_logits.py --peers DIR --native native_ref.mjs

Two references a tensor type: llama.cpp on the quantized file itself (it quantizes activations to int8, as we do, so both have noise), and
llama.cpp on the same weights, decoded by llama.cpp's own decoders and stored as F32 (no noise: what exact arithmetic gives). DIR holds
node_modules with node-llama-cpp; native_ref.mjs is a program that prints a model's top log-probabilities at every position of a list of
tokens. Needs python3-numpy.
"""
import argparse, ctypes, glob, hashlib, json, math, os, struct, subprocess, tempfile
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCKS = {0: ('F32', 1, 4), 1: ('F16', 1, 2), 30: ('BF16', 1, 2), 2: ('q4_0', 32, 18), 3: ('q4_1', 32, 20), 6: ('q5_0', 32, 22), 7: ('q5_1', 32, 24),
          8: ('q8_0', 32, 34), 10: ('q2_K', 256, 84), 11: ('q3_K', 256, 110), 12: ('q4_K', 256, 144), 13: ('q5_K', 256, 176), 14: ('q6_K', 256, 210),
          20: ('iq4_nl', 32, 18), 23: ('iq4_xs', 256, 136)}
TYPES = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K', 'IQ4_NL', 'IQ4_XS']
SMALL = {'n_layers': 2, 'n_vocab': 384}
MODELS = [dict(SMALL, type=t) for t in TYPES] + [
    dict(SMALL, arch='qwen2'), dict(SMALL, arch='qwen2', type='Q4_K', types={'token_embd.weight': 'Q6_K'}),
    dict(SMALL, arch='qwen3', head_dim=128), dict(SMALL, arch='qwen3', head_dim=128, type='Q8_0'),
    dict(SMALL, tied=True), dict(SMALL, ropeFactors=True, n_heads=8, n_kv_heads=2, head_dim=32, ropeBase=500000),
    dict(SMALL, vocab='spm', n_heads=4, n_kv_heads=4, n_vocab=512),
    dict(SMALL, tied=True, d_model=96, d_ff=160, n_heads=3, n_kv_heads=1, head_dim=32, type='Q4_0'),
    dict(SMALL, type='Q4_K', types={'attn_v.weight': 'Q6_K', 'ffn_down.weight': 'Q6_K', 'output.weight': 'Q6_K'}),
]
TOKENS = [5, 77, 300, 12, 12, 201, 66, 150, 31, 8, 333, 90, 2, 45]


def bake(path, out, lib):
    """The file with every tensor decoded to F32."""
    b = open(path, 'rb').read()
    at = 4
    def rd(f):
        nonlocal at
        v = struct.unpack_from('<' + f, b, at); at += struct.calcsize('<' + f)
        return v[0]
    def skip(kind):
        nonlocal at
        if kind == 8: n = rd('Q'); at += n
        elif kind == 9:
            item, n = rd('I'), rd('Q')
            for _ in range(n): skip(item)
        else: at += {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}[kind]
    version, n_tensors, n_kv = rd('I'), rd('Q'), rd('Q')
    for _ in range(n_kv):
        n = rd('Q'); at += n
        skip(rd('I'))
    kv_end = at
    infos = []
    for _ in range(n_tensors):
        n = rd('Q'); name = b[at:at + n]; at += n
        dims = [rd('Q') for _ in range(rd('I'))]
        infos.append((name, dims, rd('I'), rd('Q')))
    data = (at + 31) // 32 * 32
    table, blob = b'', b''
    for name, dims, ty, off in infos:
        sym, block, size = BLOCKS[ty]
        n = math.prod(dims)
        raw = np.frombuffer(b, np.uint8, n // block * size, data + off)
        if ty == 0: y = raw.view('<f4')
        elif ty == 1: y = raw.view('<f2').astype('<f4')
        elif ty == 30: y = (raw.view('<u2').astype('<u4') << 16).view('<f4')
        else:
            y = np.empty(n, np.float32)
            raw = np.ascontiguousarray(raw)
            f = getattr(lib, 'dequantize_row_' + sym)
            f.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]; f.restype = None
            f(raw.ctypes.data, y.ctypes.data, n)
        table += struct.pack('<Q', len(name)) + name + struct.pack('<I', len(dims)) + b''.join(struct.pack('<Q', d) for d in dims) + struct.pack('<IQ', 0, len(blob))
        blob += y.astype('<f4').tobytes()
        blob += b'\0' * (-len(blob) % 32)
    head = b[:kv_end] + table
    head += b'\0' * (-len(head) % 32)
    open(out, 'wb').write(head + blob)


def native(a, model, tokens):
    r = subprocess.run(['node', a.native, model, '--tokens', ','.join(map(str, tokens)), '--all-positions', '--top', '8', '--n', '1', '--peers', a.peers],
                       check=True, stdout=subprocess.PIPE)
    r = json.loads(r.stdout)
    return r['program'], [[[t['token'], round(math.log(t['prob']), 5)] for t in p] for p in r['reference']['positions']]


p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument('--peers', required=True); p.add_argument('--native', required=True)
a = p.parse_args()
lib = ctypes.CDLL(glob.glob(os.path.join(a.peers, 'node_modules/@node-llama-cpp/linux-x64/bins/*/libggml-base.so'))[0])
cases = []
with tempfile.TemporaryDirectory() as tmp:
    for m in MODELS:
        f, g = os.path.join(tmp, 'm.gguf'), os.path.join(tmp, 'baked.gguf')
        subprocess.run(['node', '--input-type=module', '-e', f"import {{tinyModel}} from {json.dumps('file://' + os.path.join(HERE, '../js/tiny-model.js'))};"
                        f"import {{writeFileSync}} from 'node:fs'; writeFileSync({json.dumps(f)}, tinyModel({json.dumps(m)}))"], check=True)
        program, quantized = native(a, f, TOKENS)
        bake(f, g, lib)
        _, exact = native(a, g, TOKENS)
        cases.append({'model': m, 'sha256': hashlib.sha256(open(f, 'rb').read()).hexdigest(), 'quantized': quantized, 'exact': exact})
        print(m)
out = ',\n  '.join(json.dumps(c, separators=(',', ':')) for c in cases)
open(os.path.join(HERE, 'logits.json'), 'w').write(
    f'{{"by": {json.dumps("make_logits.py with " + program)},\n "tokens": {json.dumps(TOKENS)},\n "cases": [\n  {out}]}}\n')
