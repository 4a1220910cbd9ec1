"""What `classify` and `segment` share: opening banks, fields and models, and the folder of results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyfield.api.opening import open_any
from polyfield.api.report import say
from polyfield.api.results import plain
from polyfield.errors import PolyfieldError, naming, shown
from polyfield.files.strict_json import write_json
from polyfield.fitting.runs.run import claim, clean, first_free

if TYPE_CHECKING:
    from torch import Tensor

    from polyfield.fields import StoredField
    from polyfield.process.bank import Bank
    from polyfield.process.model_file import Model
    from polyfield.process.networks.network import Network
    from polyfield.process.splits import Split
    from polyfield.process.training import Training


def bank_in(source: str | os.PathLike[str]) -> Bank | None:
    """Return the bank of a folder, or None where the path is a run or a field. Raises PolyfieldError where it is nothing."""
    from polyfield.process.bank import MANIFEST, Bank

    path = Path(source)
    if (path / MANIFEST).is_file():
        return Bank(path)
    if not path.exists():
        raise PolyfieldError(
            f"{shown(path)}: no such file or folder; expected a bank, a run or a .field file"
        )
    if path.is_dir() and not (path / "config.json").is_file():
        raise PolyfieldError(
            f"{shown(path)} holds neither {MANIFEST} nor config.json; expected the folder of a bank or of a run"
        )
    return None


def read_model(path: str | os.PathLike[str], *, of_parts: bool) -> Model:
    """Return a trained network. Raises PolyfieldError where it is one for the other task."""
    from polyfield.process.model_file import Model

    model = Model.read(path)
    if bool(model.parts) != of_parts:
        verb = "segment" if model.parts else "classify"
        raise PolyfieldError(
            f"{shown(path)} holds a network that is trained for `polyfield {verb}`; use it with that command"
        )
    return model


def check_fits(bank: Bank, model: Model, path: str | os.PathLike[str], *, classes: bool = True) -> None:
    """Raise PolyfieldError where a bank's fields or classes are not those that a network was trained on."""
    if bank.spec != model.spec:
        raise PolyfieldError(
            f"{shown(bank.path)}: its fields differ in signal, recipe or options from those that {shown(path)} "
            "was trained on; use a bank with the same signal, recipe and options"
        )
    if classes and (bank.classes != model.classes or (model.parts and bank.part_names != model.parts)):
        raise PolyfieldError(
            f"{shown(bank.path)}: its classes ({len(bank.classes)}: {', '.join(bank.classes)!s:.120}) or parts differ "
            f"from those that {shown(path)} was trained on ({len(model.classes)}: {', '.join(model.classes)!s:.120}); "
            "use a bank with the same classes and parts"
        )
    if bank.manifest.recipe != model.recipe:
        say(
            f"warning: {shown(bank.path)} was not fitted with the same recipe as the bank that "
            f"{shown(path)} was trained on"
        )


def open_object(source: str | os.PathLike[str], model: Model) -> tuple[StoredField, Tensor]:
    """Return a field of a model's spec, in the source's coordinates, and what the network reads of it (1, ...).

    A shape's field of another spec is fitted anew by the recipe of the network's bank. Raises PolyfieldError where that
    cannot be.
    """
    from polyfield.process.inputs import inputs_of_field, is_of_spec
    from polyfield.process.refitting import refitted

    field, context = open_any(Path(source), "cpu")
    field.context = context
    with naming(source):
        if not is_of_spec(field, model.spec):
            say(
                f"{shown(source)}: its architecture, options or signal differ from those that the network was trained "
                "on; a new field is fitted to its surface"
            )
            field = refitted(field, model.spec, model.recipe)
        return field, inputs_of_field(field, model.network.reads)


def begun(
    bank: Bank, seed: int, split: str | None, out: str | os.PathLike[str] | None, doing: str
) -> tuple[Split, str, list[int], Path]:
    """Return a bank's split, the name and the rows of the objects held out, and the new folder of results."""
    from polyfield.process.splits import split_of

    parts = split_of(bank, seed)
    held_out, rows = parts.held_out(split)
    folder = new_folder(out, bank.path, doing)
    say(f"{shown(bank.path)}: {len(parts.train)} objects to train on, {len(rows)} held out ({held_out})")
    return parts, held_out, rows, folder


def training_figures(
    network: Network, training: Training, split: Split, seconds: float, seed: int
) -> dict[str, Any]:
    """Return what a training took, and on how many objects."""
    return {
        "parameters": sum(each.numel() for each in network.parameters()),
        "epochs": training.epochs,
        "seconds": seconds,
        "seed": seed,
        "trained_on": len(split.train),
        "left_out_as_repeated": len(split.repeated),
    }


def new_folder(out: str | os.PathLike[str] | None, source: Path, doing: str) -> Path:
    """Make and return the folder of results: `out`, or runs/SOURCE-DOING-N."""
    return first_free(f"{clean(source.resolve().name)}-{doing}") if out is None else claim(Path(out))


def write_figures(folder: Path, figures: dict[str, Any]) -> None:
    """Write eval.json."""
    write_json(folder / "eval.json", plain(figures))


def refuse_options(with_what: str, **options: Any) -> None:
    """Raise PolyfieldError where one of the options is given."""
    for name, value in options.items():
        if value is not None:
            raise PolyfieldError(f"--{name} cannot be combined with {with_what}; omit --{name}")
