#!/usr/bin/env python3
"""llama.py - the forward pass of Llama, Qwen2 and Qwen3 as plain numpy: slow, in one piece, to be read beside MODEL.md.

  llama.py MODEL.gguf --tokens FILE [--ctx N --chunks N] [--kv f16|f32]

Reads a GGUF whose tensors are all F32 (or F16) and prints, as JSON, the perplexity of the token ids in FILE (a JSON array) by the usual protocol: chunks
of N tokens, each by itself, the model's BOS in the place of the first token where it wants one; predictions made in the second half of a chunk
count. Shares no code with the library. Needs python3-numpy.
"""
import argparse, json, math, struct
import numpy as np

SCALARS = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: '?', 10: 'Q', 11: 'q', 12: 'd'}


def read_gguf(path):
    """(metadata, tensors): tensors as arrays [rows, cols] or [n]."""
    b, at = open(path, 'rb').read(), 4

    def rd(f):
        nonlocal at
        v = struct.unpack_from('<' + f, b, at)[0]
        at += struct.calcsize('<' + f)
        return v

    def text():
        nonlocal at
        n = rd('Q')
        at += n
        return b[at - n:at].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            item, n = rd('I'), rd('Q')
            return [value(item) for _ in range(n)]
        return rd(SCALARS[kind])

    assert b[:4] == b'GGUF'
    _, n_tensors, n_kv = rd('I'), rd('Q'), rd('Q')
    meta = {}
    for _ in range(n_kv):
        key = text()
        meta[key] = value(rd('I'))
    infos = []
    for _ in range(n_tensors):
        name = text()
        dims = [rd('Q') for _ in range(rd('I'))]
        infos.append((name, dims, rd('I'), rd('Q')))
    align = meta.get('general.alignment', 32)
    start = (at + align - 1) // align * align
    tensors = {}
    for name, dims, kind, offset in infos:
        dtype = {0: '<f4', 1: '<f2'}[kind]
        tensors[name] = np.frombuffer(b, dtype, math.prod(dims), start + offset).astype(np.float32).reshape(dims[::-1])
    return meta, tensors


class Llama:
    def __init__(self, path, kv='f16'):
        m, self.t = read_gguf(path)
        a = self.arch = m['general.architecture']
        assert a in ('llama', 'qwen2', 'qwen3'), a
        self.meta, self.kv = m, kv
        self.n_layers, self.d_model, self.n_heads = m[f'{a}.block_count'], m[f'{a}.embedding_length'], m[f'{a}.attention.head_count']
        self.n_kv_heads = m.get(f'{a}.attention.head_count_kv', self.n_heads)
        self.head_dim = m.get(f'{a}.attention.key_length', self.d_model // self.n_heads)
        self.n_rot = m.get(f'{a}.rope.dimension_count', self.head_dim)
        self.eps = m[f'{a}.attention.layer_norm_rms_epsilon']
        self.freq = m.get(f'{a}.rope.freq_base', 10000.0) ** (-np.arange(0, self.n_rot, 2) / self.n_rot)
        if 'rope_freqs.weight' in self.t:
            self.freq = self.freq / self.t['rope_freqs.weight']
        self.bos = m['tokenizer.ggml.bos_token_id'] if m.get('tokenizer.ggml.add_bos_token', m['tokenizer.ggml.model'] == 'llama') else None

    def norm(self, x, w):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps) * w

    def rope(self, x):  # [n, heads, head_dim]
        angle = np.arange(len(x))[:, None] * self.freq
        c, s = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        y, half = x.copy(), self.n_rot // 2
        # Llama files order the numbers of a head as pairs, the others as halves.
        a, b = (slice(0, self.n_rot, 2), slice(1, self.n_rot, 2)) if self.arch == 'llama' else (slice(0, half), slice(half, self.n_rot))
        y[..., a], y[..., b] = x[..., a] * c - x[..., b] * s, x[..., a] * s + x[..., b] * c
        return y

    def logits(self, ids, see=lambda name, x: None):
        """[n, n_vocab] behind every token; double precision but for the cache of keys and values. see(name, x): x [n, cols] is about to be multiplied
        with the matrix of that name, and with those that share its input."""
        t, n, d = self.t, len(ids), self.head_dim
        x = t['token_embd.weight'][ids].astype(np.float64)
        mask = np.triu(np.full((n, n), -np.inf), 1)
        for i in range(self.n_layers):
            w = lambda name: t[f'blk.{i}.{name}']
            h = self.norm(x, w('attn_norm.weight'))
            see(f'blk.{i}.attn_q.weight', h)
            q, k, v = (h @ w(f'attn_{p}.weight').T.astype(np.float64) + t.get(f'blk.{i}.attn_{p}.bias', 0) for p in 'qkv')
            q, k, v = q.reshape(n, self.n_heads, d), k.reshape(n, self.n_kv_heads, d), v.reshape(n, self.n_kv_heads, d)
            if self.arch == 'qwen3':
                q, k = self.norm(q, w('attn_q_norm.weight')), self.norm(k, w('attn_k_norm.weight'))
            q, k = self.rope(q), self.rope(k)
            if self.kv == 'f16':
                k, v = k.astype(np.float16).astype(np.float64), v.astype(np.float16).astype(np.float64)
            group = self.n_heads // self.n_kv_heads
            k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
            s = np.einsum('qhd,khd->hqk', q, k) / math.sqrt(d) + mask
            p = np.exp(s - s.max(axis=-1, keepdims=True))
            p /= p.sum(axis=-1, keepdims=True)
            a = np.einsum('hqk,khd->qhd', p, v).reshape(n, -1)
            see(f'blk.{i}.attn_output.weight', a)
            x = x + a @ w('attn_output.weight').T
            h = self.norm(x, w('ffn_norm.weight'))
            see(f'blk.{i}.ffn_gate.weight', h)
            gate, up = h @ w('ffn_gate.weight').T, h @ w('ffn_up.weight').T
            a = gate / (1 + np.exp(-gate)) * up
            see(f'blk.{i}.ffn_down.weight', a)
            x = x + a @ w('ffn_down.weight').T
        h = self.norm(x, t['output_norm.weight'])
        see('output.weight', h)
        return h @ t.get('output.weight', t['token_embd.weight']).T

    def perplexity(self, ids, n_ctx, chunks=None):
        loss = []
        for c in range(min(len(ids) // n_ctx, chunks or len(ids))):
            part = list(ids[c * n_ctx:(c + 1) * n_ctx])
            if self.bos is not None:
                part[0] = self.bos
            y = self.logits(part)
            y = y - y.max(axis=-1, keepdims=True)
            logp = y - np.log(np.exp(y).sum(axis=-1, keepdims=True))
            loss += [-logp[i, part[i + 1]] for i in range(n_ctx // 2, n_ctx - 1)]
        return math.exp(np.mean(loss)), len(loss)


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('model'); p.add_argument('--tokens', required=True); p.add_argument('--ctx', type=int, default=512)
    p.add_argument('--chunks', type=int); p.add_argument('--kv', choices=['f16', 'f32'], default='f16')
    a = p.parse_args()
    ppl, n = Llama(a.model, a.kv).perplexity(json.load(open(a.tokens)), a.ctx, a.chunks)
    print(json.dumps({'ppl': ppl, 'tokens': n}))
