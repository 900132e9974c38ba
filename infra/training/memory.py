"""How much memory a training takes, estimated before the weights are loaded; and how much there is."""

from dataclasses import dataclass
from typing import Any, Final

import psutil
import torch

ADAM_BYTES: Final = 8
"""Of a trainable parameter: two moments in 32 bits."""
GRADIENT_BYTES: Final = 4
LAYER_FACTOR: Final = 34
"""Activations of a layer that training keeps, in bytes per token and hidden unit at 16 bits (Korthikanti et al. 2022,
https://arxiv.org/abs/2205.05198, eq. 2 without the term of attention, which kernels no longer store)."""
ROOM: Final = 0.92
"""Of what is free: the rest is lost to fragments."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes. `fixed`: weights, gradients, optimiser, and their copy while a checkpoint is loaded; `row`: of an example
    of `max_length` tokens.
    """

    fixed: int
    row: int

    def divided(self, processes: int) -> "Estimate":
        """Of one process, where the weights and what belongs to them are divided among several."""
        return Estimate(self.fixed // processes, self.row)

    def of(self, rows: int) -> int:
        """With so many examples at a time."""
        return self.fixed + rows * self.row

    def fitting(self, wanted: int, free: int) -> int:
        """The largest half, quarter, ... of `wanted` that fits; 1 if nothing does."""
        while wanted > 1 and self.of(wanted) > free * ROOM:
            wanted = -(-wanted // 2)
        return wanted


def estimated(
    config: Any, parameters: int, trainable: int, *, max_length: int, weight_bytes: float, checkpointing: bool
) -> Estimate:
    """An estimate for a decoder with this configuration. `weight_bytes`: of a parameter that is not trained."""
    config = config.get_text_config()
    wide = weight_bytes if weight_bytes >= 2 else 2
    state = trainable * (GRADIENT_BYTES + ADAM_BYTES)
    # A resumed run holds the optimiser twice for a moment: as it is read, and as it was made.
    fixed = int(parameters * weight_bytes + state + trainable * ADAM_BYTES)
    layer = LAYER_FACTOR * config.hidden_size * wide / 2
    kept = 2 * config.hidden_size * wide / 2
    layers = config.num_hidden_layers * (kept if checkpointing else layer) + (layer if checkpointing else 0)
    logits = 3 * 4 * config.vocab_size  # in 32 bits: themselves, their softmax, their gradient
    return Estimate(fixed, int(max_length * (layers + logits)))


def free_memory(device: torch.device) -> int:
    """Bytes that training may take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def peak_memory(device: torch.device) -> int:
    """Bytes that this process has taken at most."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
