"""An exponential moving average of a network's weights, which often generalises better than the last ones."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """Follows a network: after each step, average = d average + (1 - d) weights.

    d = min(decay, (1 + steps) / (10 + steps)): without the second, the first hundreds of steps would be dominated by
    the random initial weights. Running statistics are averaged alike; counters are copied.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        averaged, current = list[Tensor](), list[Tensor]()
        for mine, new in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                averaged.append(mine)
                current.append(new)
            else:
                mine.copy_(new)
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs."""
        return {"steps": self.steps, "network": self.network.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.steps = int(state["steps"])
        self.network.load_state_dict(state["network"])
