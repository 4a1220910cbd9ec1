"""Fields: an architecture (how values are stored) that carries a meaning (what they are), and the one query."""

from polyfield.fields.architecture import Architecture
from polyfield.fields.domain import Domain
from polyfield.fields.field import Field, Traits
from polyfield.fields.meaning import Meaning
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.registry import ARCHITECTURES, architecture, build, create
from polyfield.fields.signals import SIGNALS, Signal
from polyfield.fields.spec import FieldSpec
from polyfield.fields.stored import Group, StoredField
from polyfield.fields.transform import ValueTransform

__all__ = [
    "ARCHITECTURES",
    "SIGNALS",
    "Architecture",
    "Domain",
    "Features",
    "Field",
    "FieldOutput",
    "FieldSpec",
    "Group",
    "Meaning",
    "Points",
    "Signal",
    "StoredField",
    "Traits",
    "ValueTransform",
    "architecture",
    "build",
    "create",
]
