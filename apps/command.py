"""The `polyfield` command: a thin parser over the verbs."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from polyfield.api.results import plain
from polyfield.errors import PolyfieldError, shown
from polyfield.fitting.runs.interrupt import Stopped, stoppable

_LONGEST = 500  # characters of an error


def prepare_torch() -> None:
    """Set the variables that torch reads when it is imported, unless the environment sets them."""
    # An OpenMP thread that waits actively would take a core from the native kernels' threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def quieten_libraries() -> None:
    """Keep what libraries log and warn of off stderr: it holds the command's own lines alone."""
    logging.getLogger().addHandler(logging.NullHandler())  # else the last resort prints
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def main(arguments: list[str] | None = None) -> None:
    """Run one verb, print what it measured as JSON on stdout, and exit.

    Exit status: 0 done; 1 user error, one line on stderr; 2 a call that cannot be parsed;
    128 + n stopped by signal n, with everything saved.
    """
    prepare_torch()
    quieten_libraries()
    try:
        with stoppable():
            status = _run(sys.argv[1:] if arguments is None else arguments)
    except Stopped as stopped:
        status = _failed(f"stopped by {signal.Signals(stopped.signal).name}", 128 + stopped.signal)
    except PolyfieldError as error:
        status = _failed(f"error: {error}", 1)
    except OSError as error:
        if error.filename is None:  # stdout: Python flushes it again as it ends, which must not fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):
            status = 141  # as if by SIGPIPE: the reader of the output has closed it, which is not an error
        else:
            status = _failed(f"error: {shown(error.filename or 'stdout')}: {error.strerror or error}", 1)
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    # Imported here, where a signal is already reported in one line.
    import tyro

    from polyfield.apps import process_verbs, verbs

    named: dict[str, Callable[..., dict[str, Any]]] = {
        "fit": verbs.fit,
        "convert": verbs.convert,
        "edit": verbs.edit,
        "fit-set": process_verbs.fit_set,
        "resume": verbs.resume,
        "eval": verbs.evaluate,
        "render": verbs.render,
        "view": verbs.view,
        "classify": process_verbs.classify,
        "segment": process_verbs.segment,
        "doctor": verbs.doctor,
    }
    if arguments and arguments[0] in named and not {"-h", "--help"} & set(arguments):
        warn_if_not_native()
        refuse_unknown_kernels()
    try:
        result: dict[str, Any] = tyro.extras.subcommand_cli_from_dict(
            named,
            prog="polyfield",
            description="Fit, convert, edit, render and view neural fields, and train networks on them.",
            args=arguments,
        )
        status = result.pop("exit_status", 0)
        if result:
            print(json.dumps(plain(result), indent=2))
    finally:
        print(end="", flush=True)  # help too: an error of stdout must be found here
    return status


def _failed(line: str, status: int) -> int:
    """Print one line of at most 500 characters: a file's own names can be of any length."""
    line = " ".join(line.splitlines())
    print(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}...", file=sys.stderr)
    return status


def refuse_unknown_kernels() -> None:
    """Refuse kernels or an instruction set that the environment names and that cannot run.

    This is called before any work begins.
    """
    import torch

    from polyfield.kernels.dispatch import form

    form(torch.device("cpu"))


def warn_if_not_native() -> None:
    """Print one line where the package was installed without a compiler."""
    if importlib.util.find_spec("polyfield._core") is None:
        print(
            "polyfield uses its slower PyTorch kernels: no C++ compiler was found at installation; "
            "install one (Debian: apt install g++) and reinstall polyfield.",
            file=sys.stderr,
        )
