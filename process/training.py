"""Training and use of networks. With the same seed, machine and number of threads, training gives the same bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from polyfield.errors import PolyfieldError
from polyfield.process.inputs import augmented
from polyfield.process.networks.network import Classifier, Network
from polyfield.progress import Progress, silent

# Maps rows (B,) of the inputs to the mean loss.
Loss = Callable[[Tensor, torch.Generator], Tensor]

_AT_ONCE = 128  # objects without gradients
_LONGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class Training:
    """How a network is trained: AdamW with one cycle of the learning rate (Loshchilov and Hutter 2019; Smith and Topin 2018)."""

    epochs: int = 40
    batch: int = 64
    rate: float = 1e-3  # the highest
    decay: float = 0.05
    smoothing: float = 0.1  # of the labels

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise PolyfieldError(f"--epochs {self.epochs}: expected at least 1")


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Return a context in which torch's global generators begin with a seed. Their state is restored afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def train(
    network: Network,
    loss: Loss,
    rows: Sequence[int],
    training: Training,
    *,
    seed: int,
    progress: Progress = silent,
) -> list[float]:
    """Train a network in place, and return the mean loss of each epoch.

    loss is called with rows (B,) and a generator. Every epoch takes all rows once, in random order; its last rows are left out where
    they would be a smaller batch. Raises PolyfieldError where the loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    of = torch.as_tensor(rows)
    batch = min(training.batch, len(of))
    steps = len(of) // batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=training.rate, weight_decay=training.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=training.rate, total_steps=training.epochs * steps
    )
    history = []
    network.train()
    with seeded(seed):
        for epoch in range(training.epochs):
            order, total = of[torch.randperm(len(of), generator=generator)], 0.0
            for step in range(steps):
                value = loss(order[step * batch : (step + 1) * batch], generator)
                optimiser.zero_grad(set_to_none=True)
                value.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), _LONGEST_GRADIENT)
                optimiser.step()
                schedule.step()
                total += float(value.detach())
                done = (epoch * steps + step + 1) / (training.epochs * steps)
                progress(done, f"epoch {epoch + 1} of {training.epochs}")
            history.append(total / steps)
            if not torch.tensor(total).isfinite():
                raise PolyfieldError(
                    f"training: the loss of epoch {epoch + 1} is NaN or infinite; remove the objects that the bank's "
                    "quality.json lists as flagged from the set, and fit the bank again"
                )
    network.eval()
    return history


def classifier_loss(network: Classifier, inputs: Tensor, labels: Tensor, training: Training) -> Loss:
    """Return the cross entropy of classes over inputs (N, ...), augmented, with labels (N,)."""
    device = next(network.parameters()).device

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        some = augmented(inputs[rows].float(), network.reads, generator).to(device)
        return cross_entropy(network(some), labels[rows].to(device), label_smoothing=training.smoothing)

    return loss


@torch.no_grad()
def in_batches(network: Callable[[Tensor], Tensor], inputs: Tensor, device: torch.device) -> Tensor:
    """Return the outputs (N, ...) of a network, or of its `embedding`, on the CPU, of inputs (N, ...)."""
    return torch.cat([network(some.float().to(device)).cpu() for some in inputs.split(_AT_ONCE)])
