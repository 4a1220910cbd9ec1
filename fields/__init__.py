"""Fields: an architecture (how values are stored) that carries a signal (what they mean), and the one query."""

from polyfield.fields.domain import Domain
from polyfield.fields.field import Field, Group, Traits
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.registry import ARCHITECTURES, create
from polyfield.fields.signals import SIGNALS, Signal, ValueTransform
from polyfield.fields.spec import FieldSpec

__all__ = [
    "ARCHITECTURES",
    "SIGNALS",
    "Domain",
    "Features",
    "Field",
    "FieldOutput",
    "FieldSpec",
    "Group",
    "Points",
    "Signal",
    "Traits",
    "ValueTransform",
    "create",
]
