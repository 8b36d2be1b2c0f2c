"""The stories as tokens: tokenizer, conversations, rows of training."""
import hashlib
import io
import json
import lzma
import os
import random
import unicodedata

import numpy as np
import sentencepiece

VOCAB = 4096
UNK, BOS, END = 0, 1, 2
ROLES = {'system': 3, 'user': 4, 'assistant': 5}
MARKS = {3: '<|system|>', 4: '<|user|>', 5: '<|assistant|>'}
MAX_TURN = 1000  # tokens; a longer story would lose its end in most rows, and teach never to end
DROPPED = {'common-sense'}  # their prompts are whole answers of another model

# What pages and users write above a conversation; the stories come without, so some rows begin with one of these.
SYSTEMS = [
    'You are a helpful assistant.', 'You are a storyteller.', 'You tell stories to children.', 'You are a kind and friendly assistant.',
    'You answer briefly.', 'You write stories and poems.', 'You are a friendly storyteller who loves happy endings.', 'Be helpful and kind.',
]


def clean(text):
    return unicodedata.normalize('NFC', text).replace('\r\n', '\n').replace('\u2019', "'").replace('\t', '    ').strip()


def read_stories(path):
    """[(kind, prompt, answer)]"""
    with lzma.open(path, 'rt', encoding='utf-8') as file:
        rows = [json.loads(line) for line in file]
    return [(r['kind'], clean(r['prompt']), clean(r['answer'])) for r in rows if r['kind'] not in DROPPED]


def held_out(prompt):
    """2 % of the prompts, the same ones forever; all answers to a prompt are on one side."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], 'big') % 50 == 0


def train_tokenizer(stories, path):
    def lines():
        for _, prompt, answer in stories:
            for line in f'{prompt}\n{answer}'.split('\n'):
                if line.strip():
                    yield line
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines(), model_writer=model, model_type='bpe', vocab_size=VOCAB, byte_fallback=True, character_coverage=0.9999,
        normalization_rule_name='identity', remove_extra_whitespaces=False, add_dummy_prefix=False, split_digits=True,
        unk_id=UNK, bos_id=BOS, eos_id=END, pad_id=-1, control_symbols=[MARKS[i] for i in sorted(MARKS)], num_threads=1,
        max_sentence_length=20000, minloglevel=1)
    write_whole(path, model.getvalue())


def write_whole(path, data):
    with open(path + '.part', 'wb') as file:
        file.write(data)
    os.replace(path + '.part', path)


def turn(tokenizer, prompt, answer):
    return [ROLES['user'], *tokenizer.encode(prompt), END, ROLES['assistant'], *tokenizer.encode(answer), END]


def prepare(stories_path, folder, say):
    """tokenizer.model, train.npz and held-out.npz (tokens, starts), held-out.txt in folder; what is there stays."""
    names = [os.path.join(folder, n) for n in ('tokenizer.model', 'train.npz', 'held-out.npz', 'held-out.txt')]
    if all(map(os.path.exists, names)):
        return
    say('reading the stories')
    stories = read_stories(stories_path)
    parts = {False: [], True: []}
    for story in stories:
        parts[held_out(story[1])].append(story)
    if not os.path.exists(names[0]):
        say(f'training the tokenizer on {len(parts[False])} stories')
        train_tokenizer(parts[False], names[0])
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=names[0])
    assert [tokenizer.piece_to_id(MARKS[i]) for i in sorted(MARKS)] == sorted(MARKS)
    for side, name in ((False, names[1]), (True, names[2])):
        turns = [turn(tokenizer, p, a) for _, p, a in parts[side]]
        kept = [t for t in turns if len(t) <= MAX_TURN]
        starts = np.cumsum([0] + [len(t) for t in kept])
        say(f'{"held out" if side else "training"}: {len(kept)} of {len(turns)} turns, {starts[-1]} tokens')
        data = io.BytesIO()
        np.savez(data, tokens=np.concatenate([np.array(t, np.uint16) for t in kept]), starts=starts)
        write_whole(name, data.getvalue())
    # One conversation after another, as `nibble perplexity --file held-out.txt --special` reads them.
    text = ''.join(f'<s><|user|>{p}</s><|assistant|>{a}</s>' for _, p, a in parts[True] if len(turn(tokenizer, p, a)) <= MAX_TURN)
    write_whole(names[3], text.encode())


class Rows:
    """Rows of length + 1 tokens: a beginning mark, sometimes a system message, then turn after turn in a new order each epoch."""

    def __init__(self, path, tokenizer, length, seed):
        data = np.load(path)
        self.tokens, self.starts, self.length, self.seed = data['tokens'], data['starts'], length, seed
        self.systems = [[ROLES['system'], *tokenizer.encode(s), END] for s in SYSTEMS]

    def __iter__(self):
        epoch = 0
        row = []
        while True:
            rng = random.Random(f'{self.seed} {epoch}')
            order = list(range(len(self.starts) - 1))
            rng.shuffle(order)
            for i in order:
                if not row:
                    row = [BOS] + (rng.choice(self.systems) if rng.random() < 0.25 else [])
                row += self.tokens[self.starts[i]:self.starts[i + 1]].tolist()
                if len(row) > self.length:
                    yield row[:self.length + 1]
                    row = []
            epoch += 1
