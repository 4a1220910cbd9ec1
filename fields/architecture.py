"""Architecture: how a field's values are stored, as one record with everything that depends on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from polyfield.fields import options
from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.heads.latent_radiance import LatentRadiance
from polyfield.fields.heads.values import ValueField
from polyfield.fields.meaning import Meaning
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.trunk import NetworkTrunk, Trunk
from polyfield.fields.spec import FieldSpec
from polyfield.fields.stored import StoredField


def head_of(meaning: Meaning) -> type[EncodedField]:
    """Return the head that a meaning has where the architecture brings none of its own."""
    return LatentRadiance if meaning.kind.directional else ValueField


@dataclass(frozen=True)
class Extent:
    """How large a source is, as far as the options of a field depend on it."""

    resolution: int  # pixels or voxels along its longest side
    axes: int  # of the unit cube, time among them
    times: int = 0  # frames of a video, or times at which a moving scene was photographed

    @property
    def is_video(self) -> bool:
        """Whether two axes are a picture's and the third is time."""
        return self.times > 0 and self.axes == 3


def no_options(extent: Extent) -> dict[str, Any]:
    """Return no options: the defaults suit every source."""
    return {}


def no_refusal(meaning: Meaning) -> str | None:
    """Return None: every meaning is carried."""
    return None


@dataclass(frozen=True)
class Architecture:
    """One way to store a field. A file in `fields/architectures/` ends with its record."""

    name: str
    paper: str  # authors, year and title
    advice: str  # a sentence: when to choose it
    options: type  # a frozen dataclass of `option` and `choice` fields
    encoding: Callable[[Meaning, Any], Encoding]  # from the meaning and the options
    size_option: str  # the option that sets the field's size
    size_step: int = 1  # the size search tries multiples of it
    size_limit: int | None = None  # and nothing above, where larger fields take too long to fit
    suited: Callable[[Extent], Mapping[str, Any]] = no_options  # options that suit a source. Measured
    refusal: Callable[[Meaning], str | None] = no_refusal  # why a meaning is not carried, or None
    # From inputs, outputs, options and the meaning.
    trunk: Callable[[int, int, Any, Meaning], Trunk] = NetworkTrunk
    head: Callable[[Meaning], type[EncodedField]] = head_of

    def parse(self, given: Mapping[str, Any]) -> Any:
        """Return the options, defaults filled in. Raises PolyfieldError for an unknown name or a bad value."""
        return options.parse(self.name, self.options, given)

    def build(self, spec: FieldSpec) -> StoredField:
        """Return the field of a spec, its parameters not yet set, on the current default device."""
        chosen, kind = self.parse(spec.options), self.head(spec.meaning)
        encoding = self.encoding(spec.meaning, chosen)
        trunk = self.trunk(encoding.width, kind.trunk_outputs(spec.meaning), chosen, spec.meaning)
        return kind(spec, chosen, encoding, trunk)
