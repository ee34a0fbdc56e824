"""coset makes any PyTorch model symmetric under any group, measures how symmetric models and data are, and discovers symmetries."""

from . import actions, adapt, discover, frames, groups, nn
from .actions.signature import Signature
from .auditing import DataReport, Report, advise, assert_equivariant, audit, audit_data, frame_gap, lie_shares
from .cite import cite
from .environments import Local
from .errors import CosetError
from .measure import Measure
from .stats import Stats, unbiased_square
from .symmetrized import Symmetrized, symmetrize

__version__ = "0.1.0"

__all__ = [
    "CosetError",
    "DataReport",
    "Local",
    "Measure",
    "Report",
    "Signature",
    "Stats",
    "Symmetrized",
    "actions",
    "adapt",
    "advise",
    "assert_equivariant",
    "audit",
    "audit_data",
    "cite",
    "discover",
    "frame_gap",
    "frames",
    "groups",
    "lie_shares",
    "nn",
    "symmetrize",
    "unbiased_square",
]
