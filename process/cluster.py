"""Shards fitted by Ray tasks: on the cores of this machine, or on a cluster. Only this process writes files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from polyfield.data.sets import ObjectSet, first_of_each_class, open_set
from polyfield.errors import PolyfieldError
from polyfield.process.shards import Job, fit_shard

LOCAL = "local"
_MEMORY = 200_000_000  # bytes of Ray's object store on this machine; a shard is some tens of MB
_AHEAD = 2  # tasks that wait for each one that runs


def shards_on_cluster(
    address: str, job: Job, source: str, todo: dict[int, range]
) -> Iterator[tuple[int, bytes]]:
    """Yield shards' numbers and the bytes of their files, in the order in which they are done.

    `address` is that of a cluster, or "local" for the cores of this machine. A task whose worker dies is begun again. Workers
    read the source from the same path. Raises PolyfieldError where Ray is not installed or an object cannot be fitted.
    """
    ray = _ray(address)
    task = ray.remote(num_cpus=1, max_retries=-1)(_fit)
    try:
        waiting = iter(todo.items())
        cores = int(ray.cluster_resources().get("CPU", 1))
        running: dict[Any, int] = {}
        while True:
            while len(running) < cores * _AHEAD and (following := next(waiting, None)) is not None:
                shard, rows = following
                running[task.remote(job, source, rows)] = shard
            if not running:
                return
            (done,), _ = ray.wait(list(running), num_returns=1)
            try:
                data = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from None
            yield running.pop(done), data
    finally:
        ray.shutdown()


def _ray(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise PolyfieldError(
            "--cluster needs Ray, which is not installed: pip install 'polyfield[cluster]'"
        ) from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    if address == LOCAL:
        options |= {"object_store_memory": _MEMORY, "num_cpus": os.cpu_count()}
    else:
        options["address"] = address
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        expected = "" if address == LOCAL else f"; expected {LOCAL}, or the address of a running Ray cluster"
        raise PolyfieldError(
            f"--cluster {address:.80}: {' '.join(str(error).split()):.200}{expected}"
        ) from None
    return ray


def _fit(job: Job, source: str, rows: range) -> bytes:
    """Return the bytes of a shard's file. One core takes a task; results do not depend on the number of threads."""
    import torch

    torch.set_num_threads(1)
    try:
        from polyfield import _core
    except ImportError:  # installed without a compiler
        pass
    else:
        _core.set_threads(1)
    return fit_shard(job, _opened(source, job.limit), rows).to_bytes()


@lru_cache(1)
def _opened(source: str, limit: int | None) -> ObjectSet:
    objects = open_set(source)
    return objects if limit is None else first_of_each_class(objects, limit)
