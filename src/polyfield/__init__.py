"""polyfield: fit neural fields to photographs, images, meshes, point clouds and volumes, and render them.

>>> import polyfield
>>> result = polyfield.fit("demo", seconds=60)  # doctest: +SKIP
>>> field = polyfield.load(result.run)  # doctest: +SKIP

Names are loaded when they are first used, so that ``import polyfield`` is fast. The layers, from the bottom: `files`,
`kernels`, `cameras`, `fields`, `data`, `rendering`, `demo`, `fitting`, `distill`, `process`, `export`, `viewer`, `api`, `apps`. A layer imports only from
the layers below it.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from polyfield.errors import PolyfieldError

if TYPE_CHECKING:
    from polyfield.api.classify import classify
    from polyfield.api.convert import convert
    from polyfield.api.edit import edit
    from polyfield.api.evaluate import evaluate
    from polyfield.api.fields import create, load, renderer, save
    from polyfield.api.fit import FitResult, fit, resume
    from polyfield.api.fit_set import BankResult, fit_set
    from polyfield.api.render import render
    from polyfield.api.report import quiet
    from polyfield.api.segment import segment
    from polyfield.api.view import view
    from polyfield.cameras.cameras import Cameras
    from polyfield.fields import (
        ARCHITECTURES,
        SIGNALS,
        Domain,
        Field,
        FieldOutput,
        FieldSpec,
        Meaning,
        StoredField,
        ValueTransform,
    )
    from polyfield.fields.context import FieldContext
    from polyfield.fitting.losses import Term
    from polyfield.process.bank import Bank

try:
    __version__ = version("polyfield")
except PackageNotFoundError:  # a source tree on a machine where nothing is installed
    __version__ = "unknown"

_MODULES = {
    "ARCHITECTURES": "polyfield.fields",
    "Bank": "polyfield.process.bank",
    "BankResult": "polyfield.api.fit_set",
    "Cameras": "polyfield.cameras.cameras",
    "Domain": "polyfield.fields",
    "Field": "polyfield.fields",
    "FieldContext": "polyfield.fields.context",
    "FieldOutput": "polyfield.fields",
    "FieldSpec": "polyfield.fields",
    "FitResult": "polyfield.api.fit",
    "Meaning": "polyfield.fields",
    "SIGNALS": "polyfield.fields",
    "StoredField": "polyfield.fields",
    "Term": "polyfield.fitting.losses",
    "ValueTransform": "polyfield.fields",
    "classify": "polyfield.api.classify",
    "convert": "polyfield.api.convert",
    "create": "polyfield.api.fields",
    "edit": "polyfield.api.edit",
    "evaluate": "polyfield.api.evaluate",
    "fit": "polyfield.api.fit",
    "fit_set": "polyfield.api.fit_set",
    "load": "polyfield.api.fields",
    "quiet": "polyfield.api.report",
    "render": "polyfield.api.render",
    "renderer": "polyfield.api.fields",
    "resume": "polyfield.api.fit",
    "save": "polyfield.api.fields",
    "segment": "polyfield.api.segment",
    "view": "polyfield.api.view",
}

__all__ = [
    "ARCHITECTURES",
    "SIGNALS",
    "Bank",
    "BankResult",
    "Cameras",
    "Domain",
    "Field",
    "FieldContext",
    "FieldOutput",
    "FieldSpec",
    "FitResult",
    "Meaning",
    "PolyfieldError",
    "StoredField",
    "Term",
    "ValueTransform",
    "classify",
    "convert",
    "create",
    "edit",
    "evaluate",
    "fit",
    "fit_set",
    "load",
    "quiet",
    "render",
    "renderer",
    "resume",
    "save",
    "segment",
    "view",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'polyfield' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
