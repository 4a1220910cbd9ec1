"""Creating, loading, saving and rendering fields."""

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
        The kind of value that the field stores, one of `polyfield.SIGNALS`.
    domain
        The region in which the field has values.
    channels
        The number of channels of a value. If None, 3 for radiance and video, and 1 for all other signals.
    transform
        The map from the numbers that the field computes to values of the signal. If None, the default of the signal.
    moving
        Whether the values depend on a time in [0, 1]. The values of a video always do.
    seed
        The seed of the initial parameters.
    device
        The PyTorch device of the parameters.
    **options
        Options of the architecture.

    Raises
    ------
    PolyfieldError
        If the architecture cannot store the signal, or an option is invalid.

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
    """Return the field of a run folder or a .field file.

    The attribute `context` of the field holds the background colour, the occupancy grid and the training cameras. The
    field of an edited run has no parameters of its own. All other fields are `polyfield.StoredField` objects.

    Parameters
    ----------
    path
        A run folder or a .field file.
    device
        "cpu", "cuda", or "auto". With "auto", "cuda" if there is a GPU, else "cpu".

    Raises
    ------
    PolyfieldError
        If the file is missing, damaged or not a field file, or if a file that an edited run refers to has changed.

    Examples
    --------
    >>> import polyfield, tempfile
    >>> domain = polyfield.Domain("box", (0.5, 0.5), (0.5, 0.5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     polyfield.save(polyfield.create("hashgrid", "image", domain, entries=1 << 10), f"{folder}/image.field")
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
    """Write a field and its context to a .field file.

    The file is written atomically. If an error occurs, an existing file is unchanged.

    Parameters
    ----------
    field
        A field with parameters of its own. To save the field of an edited run, convert the run first.
    path
        The path of the file.

    Raises
    ------
    PolyfieldError
        If the file cannot be written, or the field has no parameters of its own.

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
    """Return a renderer for a field.

    Use one renderer for all frames, because creating a renderer takes time. If the parameters of the field change, call
    the renderer's method `refresh`.

    Parameters
    ----------
    field
        The field. Its `context` gives, for example, the background and the occupancy grid.

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
