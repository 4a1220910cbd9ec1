"""The optimiser: Adam and Muon over a field's parameter groups, their moments by parameter name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from polyfield.fields import Group
from polyfield.kernels import adam, muon

BETAS = (0.9, 0.95)
MOMENTUM = 0.95  # of Muon
EPS = 1e-12  # table rows that are seldom touched have tiny gradients that must still count


class Optimiser:
    """Adam (Kingma and Ba 2015), and Muon (Jordan et al. 2024) for groups of orthogonal steps.

    Learning rate and decay of a group are multiples of the run's. Groups of orthogonal steps have no decay.
    """

    def __init__(self, groups: Sequence[Group], *, decay: float) -> None:
        """decay is L2, added to the gradients of Adam."""
        self._decay = decay
        self.step_count = 0
        self._adopt(groups)
        self._means = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._squares = {
            name: torch.zeros_like(p) for name, p, group in self._places.values() if not group.orthogonal
        }

    def _adopt(self, groups: Sequence[Group]) -> None:
        pairs = [(name, p, group) for group in groups for name, p in group.parameters.items()]
        self._parameters = {name: p for name, p, _ in pairs}
        self._places = {id(p): (name, p, group) for name, p, group in pairs}
        if len(self._places) < len(pairs) or len(self._parameters) < len(pairs):
            raise ValueError("parameter groups hold a parameter or a name more than once; expected each once")

    def follow(self, groups: Sequence[Group], maps: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        """Take over the parameters of a field that changed its structure; moments go through the same maps."""
        self._adopt(groups)
        for name, change in maps.items():
            self._means[name] = change(self._means[name])
            if name in self._squares:
                self._squares[name] = change(self._squares[name])

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def finite(self) -> bool:
        """Whether every gradient is a finite number."""
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        return all(bool(torch.isfinite(gradient.sum())) for gradient in gradients)

    def arguments(
        self, parameter: Tensor, learning_rate: float | Tensor, step: int | Tensor | None = None
    ) -> dict[str, Any]:
        """Return what `kernels.adam` or `kernels.muon` takes beside a parameter and its gradient.

        `step` is the number of the step, if it is not the next one.

        For queued steps, learning rate and step may be tensors on the device.
        """
        name, _, group = self._places[id(parameter)]
        if group.orthogonal:
            return {
                "mean": self._means[name],
                "learning_rate": learning_rate * group.learning_rate,
                "momentum": MOMENTUM,
            }
        return {
            "mean": self._means[name],
            "square": self._squares[name],
            "step": self.step_count + 1 if step is None else step,
            "learning_rate": learning_rate * group.learning_rate,
            "betas": BETAS,
            "eps": EPS,
            "decay": self._decay * group.decay,
            "sparse": group.sparse,
        }

    def step(self, learning_rate: float, halves: Mapping[int, Tensor] | None = None) -> None:
        """Take one step with the gradients that backward left; parameters without stay.

        halves are copies in half precision that follow their parameters, by the id of the parameter.
        """
        for parameter in self._parameters.values():
            if parameter.grad is not None:
                arguments = self.arguments(parameter, learning_rate)
                if "momentum" in arguments:
                    muon(parameter.data, parameter.grad, **arguments)
                else:
                    half = (halves or {}).get(id(parameter))
                    adam(parameter.data, parameter.grad, half=half, **arguments)
        self.step_count += 1

    def tensors(self) -> dict[str, Tensor]:
        """The moments, for a checkpoint."""
        means = {f"mean.{name}": moment for name, moment in self._means.items()}
        return means | {f"square.{name}": moment for name, moment in self._squares.items()}

    def restore(self, tensors: dict[str, Tensor], step_count: int) -> None:
        """Take back what `tensors` and `step_count` were."""
        for name, mean in self._means.items():
            mean.copy_(tensors[f"mean.{name}"])
        for name, square in self._squares.items():
            square.copy_(tensors[f"square.{name}"])
        self.step_count = step_count
