"""The `polyfield` command: a thin parser over the verbs."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from typing import Any

import tyro

from polyfield.apps import verbs
from polyfield.apps.results import plain
from polyfield.errors import PolyfieldError, shown

VERBS: dict[str, Callable[..., dict[str, Any]]] = {
    "fit": verbs.fit,
    "eval": verbs.evaluate,
    "render": verbs.render,
    "doctor": verbs.doctor,
}


def main(arguments: list[str] | None = None) -> None:
    """Run one verb, print what it measured as JSON on stdout, and exit.

    Exit status: 0 done; 1 a mistake that the user can mend, one line on stderr; 2 a call that cannot be parsed;
    128 + n stopped by signal n, with everything saved.
    """
    asked = sys.argv[1:] if arguments is None else arguments
    if asked and asked[0] in VERBS and not {"-h", "--help"} & set(asked):
        warn_if_not_native()
    try:
        result: dict[str, Any] = tyro.extras.subcommand_cli_from_dict(
            VERBS, prog="polyfield", description="Fit neural fields and look at them.", args=arguments
        )
    except PolyfieldError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"error: {shown(error.filename or '')}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    status = result.pop("exit_status", 0)
    print(json.dumps(plain(result), indent=2))
    sys.exit(status)


def warn_if_not_native() -> None:
    """One line where the package was installed without a compiler."""
    if importlib.util.find_spec("polyfield._core") is None:
        print(
            "polyfield runs without its native part, which needs a C++ compiler at installation: "
            "install one (Debian: apt install g++) and install polyfield again.",
            file=sys.stderr,
        )
