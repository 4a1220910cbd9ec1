"""Making, opening and saving fields, and drawing them without a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyfield.errors import PolyfieldError

if TYPE_CHECKING:
    from polyfield.fields import Domain, Field, StoredField, ValueTransform
    from polyfield.rendering.renderers import Renderer


def create(
    architecture: str,
    signal: str,
    domain: Domain,
    *,
    channels: int | None = None,
    transform: ValueTransform | None = None,
    moving: bool = False,
    seed: int = 0,
    device: str = "cpu",
    **options: Any,
) -> StoredField:
    """Return a new field with random parameters.

    Parameters
    ----------
    architecture
        One of `polyfield.ARCHITECTURES`.
    signal
        One of `polyfield.SIGNALS`.
    domain
        Where it has values.
    channels, transform
        Numbers of a point's value, and the map from raw values; the signal's own if None.
    moving
        Whether values depend on a time in [0, 1].
    seed, device
        What the parameters follow from, and where they are.
    options
        Options of the architecture.

    Raises
    ------
    PolyfieldError
        If the architecture cannot store the signal, or an option makes no sense.

    Examples
    --------
    >>> import polyfield, torch
    >>> domain = polyfield.Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    >>> field = polyfield.create("triplane", "sdf", domain, resolution=64)
    >>> field.query(torch.zeros(5, 3)).distance.shape
    torch.Size([5])
    """
    from polyfield.fields import FieldSpec, Meaning
    from polyfield.fields import create as create_of

    meaning = Meaning.of(signal, domain, channels=channels, transform=transform, moving=moving)
    return create_of(FieldSpec(architecture, meaning, options), seed=seed, device=device)


def load(path: str | os.PathLike[str], /, *, device: str = "cpu") -> Field:
    """Return the field of a run's folder or a .field file. Its `context` holds background, occupancy and cameras.

    The field of an edited run is a view; all others are `StoredField`s.

    Raises PolyfieldError, in one line that begins with the path, if the file is damaged or of another kind.

    Examples
    --------
    >>> import polyfield, tempfile
    >>> domain = polyfield.Domain("box", (0.5, 0.5), (0.5, 0.5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     polyfield.save(polyfield.create("hashgrid", "image", domain, log2_size=10), f"{folder}/image.field")
    ...     field = polyfield.load(f"{folder}/image.field")
    >>> field.meaning.signal
    'image'
    """
    from polyfield.api.opening import open_any
    from polyfield.fitting.runs.devices import device_of

    field, context = open_any(Path(path), device_of(device))
    field.context = context
    return field


def save(field: Field, path: str | os.PathLike[str]) -> None:
    """Write a field and its context to a .field file, whole or not at all.

    Raises PolyfieldError where that fails, and for a view, which must be converted first. A file that was there is then
    unchanged.

    Examples
    --------
    >>> import os, polyfield, tempfile
    >>> domain = polyfield.Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     polyfield.save(polyfield.create("vm", "volume", domain, resolution=8), f"{folder}/volume.field")
    ...     os.listdir(folder)
    ['volume.field']
    """
    from polyfield.fields import StoredField
    from polyfield.fields.field_file import save_field

    if not isinstance(field, StoredField):
        raise PolyfieldError(
            "save: expected a field with parameters of its own, but the field of an edited run has none; "
            "convert the edited run, and save the new field"
        )
    save_field(path, field, field.context)


def renderer(field: Field) -> Renderer:
    """Return what draws a field. Keep it over frames; it holds the fused kernel.

    Examples
    --------
    >>> import polyfield
    >>> domain = polyfield.Domain("box", (0.5, 0.5), (0.5, 0.5))
    >>> [picture] = polyfield.renderer(polyfield.create("cp", "image", domain)).flat((8, 6))
    >>> picture.shape
    torch.Size([6, 8, 3])
    """
    from polyfield.rendering.renderers import renderer_of

    return renderer_of(field, field.context)
