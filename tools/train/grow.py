"""A larger model that computes the same as a small one: twice as wide, twice as deep.

Width (after Chen, Goodfellow, Shlens: Net2Net, 2016): every hidden value, head and feed-forward value is there
twice, and a matrix that reads doubled values splits each weight between the two at random, so that the halves
learn different things. The root mean square of a doubled vector is that of the vector, so norms just repeat.
Depth: after each layer one whose output projections are zero, which adds nothing until it has learned.
"""

import torch


def twice_in(w, generator):
    """[O, I] -> [O, 2I]: reads doubled inputs, the weight split a : 1 - a, a uniform in [0.2, 0.8]."""
    a = 0.2 + 0.6 * torch.rand(w.shape, generator=generator)
    return torch.cat((w * a, w * (1 - a)), 1)


def twice_out(w):
    """[O, ...] -> [2O, ...]: every output twice."""
    return torch.cat((w, w), 0)


def grown(small, large, seed):
    """The state for `large`, whose Config doubles hidden, ffn, heads, kv_heads and layers of `small`'s.

    What `large` holds in its inserted layers is kept, their output projections zeroed.
    """
    for field in ("hidden", "ffn", "heads", "kv_heads", "layers"):
        have, want = getattr(large.c, field), 2 * getattr(small.c, field)
        if have != want:
            raise ValueError(f"{field} of the larger model is {have}, expected {want}, twice the smaller one's")
    generator = torch.Generator().manual_seed(seed)
    state = {name: tensor.clone() for name, tensor in large.state_dict().items()}
    for name, tensor in small.state_dict().items():
        if tensor.dim() == 1:
            wide = twice_out(tensor)
        elif name == "model.embed_tokens.weight":
            wide = torch.cat((tensor, tensor), 1)
        elif name == "lm_head.weight":
            wide = twice_in(tensor, generator)
        else:
            wide = twice_in(twice_out(tensor), generator)
        parts = name.split(".")
        if parts[1] == "layers":
            parts[2] = str(2 * int(parts[2]))
        state[".".join(parts)] = wide
    for name, tensor in state.items():
        parts = name.split(".")
        inserted = parts[1] == "layers" and int(parts[2]) % 2 == 1
        if inserted and parts[-2] in ("o_proj", "down_proj"):
            tensor.zero_()
    return state
