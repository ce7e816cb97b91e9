"""Muon: momentum whose update is orthogonalized, for weight matrices; AdamW for the rest.

Each 2-D update is replaced by a near-orthogonal matrix of the same row and column spaces (four
Newton-Schulz steps), after Jordan et al., 2024. Needs far fewer tokens than AdamW alone.
"""

import torch

NS = (3.4445, -4.7750, 2.0315)  # quintic coefficients


def orthogonalize(g, steps=4):
    tall = g.shape[0] > g.shape[1]
    x = (g.T if tall else g) / (g.norm() + 1e-7)
    a, b, c = NS
    for _ in range(steps):
        s = x @ x.T
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr=0.02, momentum=0.95, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    def step(self, parallel_map=map):
        """`parallel_map` may run the matrices in threads: they do not touch each other."""
        for group in self.param_groups:
            for p in group["params"]:
                if "m" not in self.state[p]:
                    self.state[p]["m"] = torch.zeros_like(p)
            by_size = sorted(group["params"], key=lambda p: -p.numel())
            list(parallel_map(lambda p, g=group: self._update(p, g), by_size))

    @torch.no_grad()
    def _update(self, p, group):
        m = self.state[p]["m"]
        m.lerp_(p.grad, 1 - group["momentum"])
        update = orthogonalize(p.grad.lerp(m, group["momentum"]))
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(update, alpha=-group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)
