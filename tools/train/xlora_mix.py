"""A base model with several frozen LoRA adapters (experts) whose share is a gate per token: X-LoRA's forward.

    y = W x + sum_i  s_i B_i ((A_i x) g_i)          g: [B, T, n], or [B, T, L, n] one per module

Pass 1 is the base model (`gates(None)`), the classifier turns its last hidden state (after the final norm)
into gates, pass 2 runs with them. The same mathematics as PEFT's XLoraModel; the experts' matrices are
stacked, so a module costs two small products however many experts there are, and pass 1 computes neither
adapters nor the output layer. L counts the modules that any expert touches, in the model's order.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from peft import PeftModel
from peft.tuners.lora.layer import Embedding, Linear, LoraLayer


class ExpertModule:
    """The experts' matrices of one module, stacked; replaces the forward of PEFT's layer."""

    def __init__(self, name, layer, experts, index, state):
        self.layer, self.index, self.state = layer, index, state
        self.is_embedding = isinstance(layer, Embedding)
        if not isinstance(layer, (Linear, Embedding)):
            raise SystemExit(f"{name}: {type(layer).__name__} adapters cannot be experts, expected linear or embedding")
        if any(layer.use_dora.get(e) for e in experts) or any(getattr(layer, "lora_bias", {}).get(e) for e in experts):
            raise SystemExit(f"{name}: DoRA adapters and adapters with biases cannot be experts")
        a_of, b_of = ((layer.lora_embedding_A, layer.lora_embedding_B) if self.is_embedding
                      else (layer.lora_A, layer.lora_B))
        a, b, owner = [], [], []
        for i, e in enumerate(experts):
            if e not in a_of:
                continue
            matrix = (a_of[e], b_of[e]) if self.is_embedding else (a_of[e].weight, b_of[e].weight)
            a.append(matrix[0])
            b.append(matrix[1] * layer.scaling[e])
            owner += [i] * matrix[0].shape[0]
        self.a, self.b = torch.cat(a).detach(), torch.cat(b, 1).detach()  # [sum r, in], [out, sum r]
        self.owner = torch.tensor(owner)  # the expert of each row of A

    def __call__(self, x, *args, **kwargs):
        y = self.layer.base_layer(x, *args, **kwargs)
        gates = self.state.gates
        if gates is None:
            return y
        g = gates[:, :, self.index] if gates.dim() == 4 else gates
        inner = F.embedding(x, self.a.T) if self.is_embedding else F.linear(x.to(self.a.dtype), self.a)
        return y + F.linear(inner * g[..., self.owner], self.b).to(y.dtype)


class ExpertMix(nn.Module):
    """The base model with its experts. `gates`: what the next forward uses; None: the base model."""

    def __init__(self, base, folders):
        super().__init__()
        self.gates = None
        self.experts = [str(i) for i in range(len(folders))]
        model = PeftModel.from_pretrained(base, folders[0], adapter_name="0")
        for name, folder in list(zip(self.experts, folders))[1:]:
            model.load_adapter(folder, adapter_name=name)
        model.requires_grad_(False)
        model.eval()
        self.base = model.get_base_model()
        self.body, self.head = getattr(self.base, self.base.base_model_prefix), self.base.get_output_embeddings()
        if isinstance(self.head, LoraLayer):
            raise SystemExit("an expert targets the output layer; X-LoRA experts cannot")
        self.modules_ = []
        for name, layer in self.base.named_modules():
            if isinstance(layer, LoraLayer):
                self.modules_.append(ExpertModule(name, layer, self.experts, len(self.modules_), self))
                layer.forward = self.modules_[-1]

    @property
    def num_modules(self):
        return len(self.modules_)

    def hidden(self, tokens, gates=None):
        """tokens [B, T] -> hidden states after the final norm [B, T, H]."""
        self.gates = gates
        return self.body(input_ids=tokens, use_cache=False).last_hidden_state


class Classifier(nn.Module):
    """PEFT's: Linear, then ReLU, Dropout, Linear for every further layer; a softmax over the experts."""

    def __init__(self, hidden, experts, modules, layerwise, depth=1, size=64, dropout=0.2, temperature=1.0):
        super().__init__()
        self.experts, self.modules, self.layerwise, self.temperature = experts, modules, layerwise, temperature
        out, layers, width = experts * (modules if layerwise else 1), [], hidden
        for _ in range(depth - 1):
            layers += [nn.Linear(width, size), nn.ReLU()] + ([nn.Dropout(dropout)] if dropout > 0 else [])
            width = size
        layers.append(nn.Linear(width, out))
        self.layers = nn.Sequential(*layers)
        nn.init.zeros_(self.layers[-1].weight)  # all experts alike at first
        nn.init.zeros_(self.layers[-1].bias)

    def logits(self, hidden):
        """[B, T, H] -> what the softmax is taken of: [B, T, n], or [B, T, L, n] when layerwise."""
        logits = self.layers(hidden.float())
        if self.layerwise:
            logits = logits.unflatten(-1, (self.modules, self.experts))
        return logits / self.temperature

    def forward(self, hidden):
        """[B, T, H] -> gates [B, T, n], or [B, T, L, n] when layerwise."""
        return torch.softmax(self.logits(hidden), -1)
