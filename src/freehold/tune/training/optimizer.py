"""AdamW over one flat buffer, and how the rate rises and falls.

Room: tune. Knows tensors; must not know models. Source: arXiv 1711.05101.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from freehold.tune.training.spec import TrainSpec

__all__ = ["Optimizer", "rate_at"]


def rate_at(spec: TrainSpec, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0, of so many."""
    warm = math.ceil(spec.warmup * steps)
    if step < warm:
        return spec.rate * (step + 1) / warm
    if spec.schedule == "constant":
        return spec.rate
    share = (step - warm) / max(1, steps - warm)
    if spec.schedule == "linear":
        return spec.rate * (1 - share)
    return spec.rate * 0.5 * (1 + math.cos(math.pi * share))


class Optimizer:
    """The learning parameters as views of one buffer, with their gradients and moments.

    Mutates: the parameters it is given, whose values move into the buffer. Norms and biases, the
    vectors, do not decay.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], spec: TrainSpec) -> None:
        self.parameters = parameters
        some = next(iter(parameters.values()))
        count = sum(each.numel() for each in parameters.values())
        self.values = torch.empty(count, dtype=torch.float32, device=some.device)
        self.gradients = torch.zeros_like(self.values)
        self.first = torch.zeros_like(self.values)
        self.second = torch.zeros_like(self.values)
        self.taken = 0
        self._spec = spec
        at = 0
        decays = []
        for each in parameters.values():
            end = at + each.numel()
            self.values[at:end] = each.data.reshape(-1)
            each.data = self.values[at:end].view(each.shape)
            each.grad = self.gradients[at:end].view(each.shape)
            if each.dim() > 1:
                decays.append((at, end))
            at = end
        self._decays = decays

    def step(self, rate: float) -> float:
        """One step along the gradients, clipped; clears them. Returns their norm before clipping.

        Mutates: parameters and moments, unless the norm is no number.
        """
        norm = float(self.gradients.norm())
        if not math.isfinite(norm):
            return norm
        if self._spec.clip and norm > self._spec.clip:
            self.gradients *= self._spec.clip / (norm + 1e-6)
        self.taken += 1
        if self._spec.weight_decay:
            for start, end in self._decays:
                self.values[start:end] *= 1 - rate * self._spec.weight_decay
        self.first.lerp_(self.gradients, 1 - 0.9)
        self.second.mul_(0.999).addcmul_(self.gradients, self.gradients, value=1 - 0.999)
        size = rate / (1 - 0.9**self.taken)
        slack = self.second.div(1 - 0.999**self.taken).sqrt_().add_(1e-8)
        self.values.addcdiv_(self.first, slack, value=-size)
        self.gradients.zero_()
        return norm
