"""The trained model as files: GGUF in F16 and Q4_0, and a Hugging Face folder.

GGUF as ggml's docs/gguf.md defines it; the names of tensors and keys are those of llama.cpp's `llama` architecture, whose rotary
positions turn neighbouring pairs, so that the rows of q and k are put in another order than Hugging Face's.
"""
import json
import os
import struct

import numpy as np
import sentencepiece
import torch

import data
import llama
import quant

NAME = 'Llama Nibble Stories 5M'
FILE = 'Llama-Nibble-Stories-5M'
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('roles are system, user and assistant') }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + (message['content'] | trim) + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")
F32, F16, Q4_0 = 0, 1, 2  # ggml's numbers of these types
ALIGNMENT = 32
GGUF_NAMES = {'embed': 'token_embd', 'norm': 'output_norm', 'attn_norm': 'attn_norm', 'q': 'attn_q', 'k': 'attn_k', 'v': 'attn_v',
              'o': 'attn_output', 'ffn_norm': 'ffn_norm', 'gate': 'ffn_gate', 'up': 'ffn_up', 'down': 'ffn_down'}
HF_NAMES = {'embed': 'model.embed_tokens', 'norm': 'model.norm', 'attn_norm': 'input_layernorm', 'q': 'self_attn.q_proj', 'k': 'self_attn.k_proj',
            'v': 'self_attn.v_proj', 'o': 'self_attn.o_proj', 'ffn_norm': 'post_attention_layernorm', 'gate': 'mlp.gate_proj',
            'up': 'mlp.up_proj', 'down': 'mlp.down_proj'}


def renamed(name, names, layers):
    """'3.q' -> 'blk.3.attn_q.weight' with names = GGUF_NAMES and layers = 'blk'"""
    layer, _, part = name.rpartition('.')
    return f'{layers}.{layer}.{names[part]}.weight' if layer else f'{names[part]}.weight'


def neighbours(w, heads):
    """Rows of q or k from halves (i, i + d/2) to neighbours (2i, 2i + 1)."""
    return w.view(heads, 2, -1, w.shape[1]).transpose(1, 2).reshape(w.shape)


def packed(w, kind):
    if kind == F32:
        return w.numpy().astype('<f4').tobytes()
    if kind == F16:
        return w.numpy().astype('<f2').tobytes()
    q, d = quant.q4_0(w)
    q = q.numpy().astype(np.int16).reshape(-1, 32) + 8
    d = d.numpy().reshape(-1, 1).astype('<f2').view(np.uint8)
    return np.concatenate([d, (q[:, :16] | q[:, 16:] << 4).astype(np.uint8)], 1).tobytes()


class Value:
    """Metadata of a GGUF file with its type."""
    U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9

    @staticmethod
    def string(text):
        raw = text.encode() if isinstance(text, str) else text
        return struct.pack('<Q', len(raw)) + raw

    @staticmethod
    def pack(value):
        if isinstance(value, bool):
            return struct.pack('<IB', Value.BOOL, value)
        if isinstance(value, int):
            return struct.pack('<II', Value.U32, value)
        if isinstance(value, float):
            return struct.pack('<If', Value.F32, value)
        if isinstance(value, str):
            return struct.pack('<I', Value.STRING) + Value.string(value)
        if isinstance(value[0], str):
            kind, items = Value.STRING, b''.join(map(Value.string, value))
        elif isinstance(value[0], float):
            kind, items = Value.F32, np.array(value, '<f4').tobytes()
        else:
            kind, items = Value.I32, np.array(value, '<i4').tobytes()
        return struct.pack('<IIQ', Value.ARRAY, kind, len(value)) + items


def vocabulary(tokenizer):
    n = tokenizer.get_piece_size()
    kinds = [2 if tokenizer.is_unknown(i) else 3 if tokenizer.is_control(i) else 6 if tokenizer.is_byte(i) else 1 for i in range(n)]
    return [tokenizer.id_to_piece(i) for i in range(n)], [float(tokenizer.get_score(i)) for i in range(n)], kinds


def write_gguf(path, weights, c, tokenizer, matrices):
    """matrices: the type of every matrix; norms are F32."""
    tokens, scores, kinds = vocabulary(tokenizer)
    metadata = {
        'general.architecture': 'llama', 'general.name': NAME, 'general.type': 'model', 'general.size_label': '5M', 'general.license': 'llama3.1',
        'general.description': 'Tells short stories. Built with Llama: trained on text generated with Llama 3.1.',
        'general.file_type': {F16: 1, Q4_0: 2}[matrices], 'general.quantization_version': 2, 'general.languages': ['en'],
        'llama.vocab_size': c.vocab, 'llama.context_length': c.context, 'llama.embedding_length': c.dim, 'llama.block_count': c.layers,
        'llama.feed_forward_length': c.ffn, 'llama.attention.head_count': c.heads, 'llama.attention.head_count_kv': c.kv_heads,
        'llama.rope.dimension_count': c.head_dim, 'llama.rope.freq_base': c.theta, 'llama.attention.layer_norm_rms_epsilon': c.eps,
        'tokenizer.ggml.model': 'llama', 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.scores': scores, 'tokenizer.ggml.token_type': kinds,
        'tokenizer.ggml.bos_token_id': data.BOS, 'tokenizer.ggml.eos_token_id': data.END, 'tokenizer.ggml.unknown_token_id': data.UNK,
        'tokenizer.ggml.add_bos_token': True, 'tokenizer.ggml.add_eos_token': False, 'tokenizer.ggml.add_space_prefix': False,
        'tokenizer.chat_template': TEMPLATE,
        'general.sampling.temp': 0.5, 'general.sampling.top_p': 0.9, 'general.sampling.min_p': 0.1,
        'general.sampling.penalty_repeat': 1.05,
    }
    infos, body = [], bytearray()
    for name in llama.shapes(c):
        w = weights[name]
        if name.endswith(('.q', '.k')):
            w = neighbours(w, c.heads if name.endswith('.q') else c.kv_heads)
        kind = matrices if w.dim() == 2 else F32
        infos.append(Value.string(renamed(name, GGUF_NAMES, 'blk')) + struct.pack('<I', w.dim()) +
                     struct.pack(f'<{w.dim()}Q', *reversed(w.shape)) + struct.pack('<IQ', kind, len(body)))
        body += packed(w, kind)
        body += bytes(-len(body) % ALIGNMENT)
    head = b'GGUF' + struct.pack('<IQQ', 3, len(infos), len(metadata))
    head += b''.join(Value.string(k) + Value.pack(v) for k, v in metadata.items()) + b''.join(infos)
    data.write_whole(path, head + bytes(-len(head) % ALIGNMENT) + bytes(body))


def merges(pieces, scores, kinds):
    """The merges of a byte-pair vocabulary: every way to make a piece of two others, the best piece first."""
    ids = {p: i for i, p in enumerate(pieces) if kinds[i] == 1}
    found = []
    for piece, i in ids.items():
        pairs = [(piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in ids and piece[k:] in ids]
        found += [(-scores[i], ids[a], ids[b], a, b) for a, b in pairs]
    return [[a, b] for _, _, _, a, b in sorted(found)]


def write_hugging_face(folder, weights, c, tokenizer):
    os.makedirs(folder, exist_ok=True)

    def write_json(name, value):
        data.write_whole(os.path.join(folder, name), (json.dumps(value, ensure_ascii=False, indent=1) + '\n').encode())

    header, body = {}, bytearray()
    for name, w in weights.items():
        raw = packed(w, F16)
        header[renamed(name, HF_NAMES, 'model.layers')] = {'dtype': 'F16', 'shape': list(w.shape), 'data_offsets': [len(body), len(body) + len(raw)]}
        body += raw
    head = json.dumps({'__metadata__': {'format': 'pt'}, **header}).encode()
    head += b' ' * (-len(head) % 8)
    data.write_whole(os.path.join(folder, 'model.safetensors'), struct.pack('<Q', len(head)) + head + bytes(body))
    write_json('config.json', {
        'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'vocab_size': c.vocab, 'hidden_size': c.dim, 'num_hidden_layers': c.layers,
        'num_attention_heads': c.heads, 'num_key_value_heads': c.kv_heads, 'head_dim': c.head_dim, 'intermediate_size': c.ffn, 'hidden_act': 'silu',
        'max_position_embeddings': c.context, 'rms_norm_eps': c.eps, 'rope_theta': c.theta, 'tie_word_embeddings': True, 'attention_bias': False,
        'mlp_bias': False, 'bos_token_id': data.BOS, 'eos_token_id': data.END, 'torch_dtype': 'float16'})
    write_json('generation_config.json', {'bos_token_id': data.BOS, 'eos_token_id': data.END, 'do_sample': True, 'temperature': 0.8, 'top_p': 0.95})
    pieces, scores, kinds = vocabulary(tokenizer)
    special = [i for i, k in enumerate(kinds) if k in (2, 3)]
    write_json('tokenizer.json', {
        'version': '1.0', 'truncation': None, 'padding': None,
        'added_tokens': [{'id': i, 'content': pieces[i], 'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False, 'special': True} for i in special],
        'normalizer': {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'}, 'pre_tokenizer': None,
        'post_processor': {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<s>', 'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}],
                           'pair': [{'SpecialToken': {'id': '<s>', 'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}, {'Sequence': {'id': 'B', 'type_id': 1}}],
                           'special_tokens': {'<s>': {'id': '<s>', 'ids': [data.BOS], 'tokens': ['<s>']}}},
        'decoder': {'type': 'Sequence', 'decoders': [{'type': 'Replace', 'pattern': {'String': '▁'}, 'content': ' '}, {'type': 'ByteFallback'}, {'type': 'Fuse'}]},
        'model': {'type': 'BPE', 'dropout': None, 'unk_token': '<unk>', 'continuing_subword_prefix': None, 'end_of_word_suffix': None, 'fuse_unk': True,
                  'byte_fallback': True, 'ignore_merges': False, 'vocab': {p: i for i, p in enumerate(pieces)}, 'merges': merges(pieces, scores, kinds)}})
    write_json('tokenizer_config.json', {
        'tokenizer_class': 'PreTrainedTokenizerFast', 'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>', 'add_bos_token': True,
        'add_eos_token': False, 'clean_up_tokenization_spaces': False, 'model_max_length': c.context, 'chat_template': TEMPLATE})


def write(work, out, c, say):
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=os.path.join(work, 'tokenizer.model'))
    student, qat = (torch.load(os.path.join(work, f'{name}.pt'), map_location='cpu') for name in ('student', 'qat'))
    os.makedirs(out, exist_ok=True)
    for path, weights, kind in (
            (os.path.join(out, f'{FILE}-F16.gguf'), student, F16), (os.path.join(out, f'{FILE}-Q4_0.gguf'), qat, Q4_0),
            (os.path.join(work, f'{FILE}-Q4_0-rounded.gguf'), student, Q4_0)):  # what training with quantization is compared with
        write_gguf(path, weights, c, tokenizer, kind)
        say(f'{path}: {os.path.getsize(path)} bytes')
    write_hugging_face(os.path.join(work, FILE), student, c, tokenizer)
    say(f'{os.path.join(work, FILE)}: the Hugging Face folder')
