#!/usr/bin/env python3
"""make_perplexity.py - writes perplexity.json: perplexities computed by tests/reference/llama.py, on tokens by native llama.cpp.

  make_perplexity.py --peers DIR --native native_ref.mjs [--stories MODEL.gguf TEXT]

The texts are text.txt beside this script for the models of tests/js/tiny-model.js, and, where --stories is given, the first chunks of a larger text for a
trained model (of both only hashes and figures are kept). --native is a program that prints a text's tokens by llama.cpp; DIR holds its node_modules.
"""
import argparse, hashlib, json, os, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '../reference'))
from llama import Llama

MODELS = [{'vocab': 'spm', 'n_layers': 2}, {'arch': 'qwen2', 'n_layers': 2}, {'arch': 'qwen3', 'n_layers': 1, 'head_dim': 128},
          {'vocab': 'spm', 'n_layers': 2, 'tied': True, 'ropeFactors': True, 'n_heads': 8, 'n_kv_heads': 2, 'head_dim': 32, 'ropeBase': 500000}]
N_CTX = 128
STORIES = {'n_ctx': 512, 'chunks': 10}

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument('--peers', required=True); p.add_argument('--native', required=True); p.add_argument('--stories', nargs=2)
a = p.parse_args()


def sha256(path):
    return hashlib.sha256(open(path, 'rb').read()).hexdigest()


def tokens(model, text):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(['node', a.native, model, '--text-file', text, '--peers', a.peers, '--out', out.name], check=True, stdout=subprocess.DEVNULL)
        return json.load(open(out.name))['tokenize']['tokens']


def evaluate(path, text, n_ctx, chunks=None):
    model = Llama(path)
    ids = tokens(path, text)
    if model.bos is not None:
        ids = [model.bos] + ids
    ppl, n = model.perplexity(ids, n_ctx, chunks)
    return {'ppl': round(ppl, 7), 'tokens': n, 'ids': len(ids)}


result = {'by': 'make_perplexity.py', 'n_ctx': N_CTX, 'cases': []}
text = os.path.join(HERE, 'text.txt')
with tempfile.TemporaryDirectory() as tmp:
    path = os.path.join(tmp, 'model.gguf')
    for m in MODELS:
        subprocess.run(['node', '--input-type=module', '-e', f"import {{tinyModel}} from {json.dumps('file://' + os.path.join(HERE, '../js/tiny-model.js'))};"
                        f"import {{writeFileSync}} from 'node:fs'; writeFileSync({json.dumps(path)}, tinyModel({json.dumps(m)}))"], check=True)
        result['cases'].append({'model': m, 'sha256': sha256(path), **evaluate(path, text, N_CTX)})
if a.stories:
    result['stories'] = {'model_sha256': sha256(a.stories[0]), 'text_sha256': sha256(a.stories[1]), **STORIES, **evaluate(*a.stories, **STORIES)}
open(os.path.join(HERE, 'perplexity.json'), 'w').write(json.dumps(result, indent=1) + '\n')
