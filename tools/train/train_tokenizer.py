"""Trains the tokenizer: byte-level BPE, 4,096 tokens, every byte a token, digits one by one.

    python train_tokenizer.py --text-dir BOOKS --python-dir LIB --heldout H --dev D --out models/demo

Writes tokenizer.json and tokenizer_config.json (with the chat template). The split expression is
Qwen2's, so engines know it. Evaluation books and held-out modules are not read.
"""

import argparse
import json
import os
import random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import AddedToken

from make_data import load_reserved, python_files, read, text_files
from qa_chat import draw_chat
import qa_code

VOCAB = 4096
SPECIAL = ["<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>", "<|reserved|>"]
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def corpus(a):
    rng = random.Random(7)
    for path in text_files(a.text_dir):
        text = read(path)
        for i in range(0, len(text), 200000):  # a third of each book is plenty for merges
            yield text[i:i + 70000]
    for path in python_files(a.python_dir)[0]:
        yield read(path)[:15000]
    reserved = load_reserved(a.heldout, a.dev)
    for _ in range(60000):
        for _, text in draw_chat(rng, reserved, ([], ["No prose here."])):
            yield text
    for _ in range(4000):
        yield qa_code.code_document(rng)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("--text-dir", "--python-dir", "--heldout", "--dev", "--out"):
        p.add_argument(name, required=True)
    a = p.parse_args()
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[AddedToken(s, special=True, normalized=False) for s in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=24, show_progress=False)
    tok.train_from_iterator(corpus(a), trainer)
    bos = tok.token_to_id("<|bos|>")
    tok.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", pair="<|bos|> $A $B:1", special_tokens=[("<|bos|>", bos)])
    assert tok.get_vocab_size() == VOCAB
    os.makedirs(a.out, exist_ok=True)
    tok.save(os.path.join(a.out, "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|bos|>", "eos_token": "<|eos|>",
        "pad_token": "<|pad|>", "add_bos_token": True, "model_max_length": 2048,
        "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE,
    }
    with open(os.path.join(a.out, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)
        f.write("\n")


if __name__ == "__main__":
    main()
