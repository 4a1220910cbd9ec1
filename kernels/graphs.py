"""CUDA graphs of work that is queued on a GPU many times. Each graph costs the host one launch."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch


class Graphs:
    """Graphs by key.

    Work must not wait for the device, must make tensors of the same shapes each time, and must change only
    tensors that existed before.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            with torch.cuda.device(device):
                self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
        self._begun: set[Hashable] = set()
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Callable[[], None]]] = {}

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do the work of this key.

        The first call does it directly, which compiles kernels; later calls use a graph. Later work with the
        same key is taken to be the same. Without a GPU all work is done directly.
        """
        if self._pool is None or key not in self._begun:
            self._begun.add(key)
            work()
            return
        if key not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            with (
                torch.cuda.device(self._device),
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream),
            ):
                work()
            self._graphs[key] = graph, work  # the graph reads the work's tensors
        self._graphs[key][0].replay()

    def clear(self) -> None:
        """Free the graphs' memory. References from work to this object would keep it."""
        if self._graphs:
            torch.cuda.synchronize(self._device)
        self._graphs.clear()
        self._begun.clear()
