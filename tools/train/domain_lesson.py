"""What train_xlora.py --own teaches a classifier first: whose text is this token?

A window of next-token loss says little about which adapter should speak: most of its 512 losses hardly depend
on it. The text that a token comes from is known, and tells the same in one number. So the classifier is first
fitted to it, from the base model's last hidden states alone: windows of one text, and as many that are pieced
together from 10 to 140 tokens of each in turn. One forward of the base per window, then seconds of fitting.
"""

import random

import torch
import torch.nn.functional as F

from tuning import Windows, rate

PIECE = (10, 140)  # tokens


def pieced(sources, length, bos, rng):
    """(tokens [length], labels [length]) of pieces of the sources in turn."""
    tokens, labels, last = [], [], None
    count = 0
    while count < length:
        last = rng.choice([i for i in range(len(sources)) if i != last])
        size = rng.randint(*PIECE)
        window = sources[last].window()
        at = rng.randint(1, len(window) - size)
        tokens.append(window[at:at + size])
        labels.append(torch.full((size,), last))
        count += size
    tokens, labels = torch.cat(tokens)[:length], torch.cat(labels)[:length]
    if bos is not None:
        tokens[0] = bos
    return tokens, labels


@torch.no_grad()
def labelled_states(hidden, tokenizer, texts, length, windows, seed):
    """(hidden states [W, length, H], labels [W, length]): `windows` of each text and as many pieced together."""
    length = max(length, 2 * PIECE[1])
    sources = [Windows(tokenizer, [text], length, seed + 10 + i) for i, text in enumerate(texts)]
    rng = random.Random(seed)
    made = [(s.window(), torch.full((length,), i)) for i, s in enumerate(sources) for _ in range(windows)]
    made += [pieced(sources, length, tokenizer.bos_token_id, rng) for _ in range(windows)]
    return torch.stack([hidden(t[None])[0] for t, _ in made]), torch.stack([y for _, y in made])


def fit(classifier, states, labels, steps, lr, weights, rows=16):
    """Fits the classifier to the labels, a token of text i counting weights[i] times (its logit ends about
    ln weights[i] higher); returns the share of tokens that it labels right in windows kept out."""
    order = torch.randperm(len(states))
    kept, used = order[:len(states) // 10], order[len(states) // 10:]
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=lr, weight_decay=1e-2)
    classifier.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * rate(step / steps)
        batch = used[torch.randint(len(used), (rows,))]
        logits = classifier.logits(states[batch])
        wanted = labels[batch].view(*logits.shape[:2], *[1] * (logits.dim() - 3)).expand(logits.shape[:-1])
        loss = F.cross_entropy(logits.flatten(0, -2), wanted.flatten(), torch.tensor(weights))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    classifier.eval()
    with torch.no_grad():
        mean = classifier(states[kept])
        mean = mean.mean(2) if mean.dim() == 4 else mean
        return (mean.argmax(-1) == labels[kept]).float().mean().item()
