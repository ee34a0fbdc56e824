"""Auditing: how far a model is from the symmetry it should have, and whether that symmetry was declared rightly."""

from .assertion import assert_equivariant
from .auditor import audit
from .frame_law import frame_gap, measure_gap
from .laws import Law
from .layers import Layer
from .lie_shares import LieShares, Share, lie_shares
from .report import Report
from .search import Worst
from .sweep import Estimate

__all__ = [
    "Estimate",
    "Law",
    "Layer",
    "LieShares",
    "Report",
    "Share",
    "Worst",
    "assert_equivariant",
    "audit",
    "frame_gap",
    "lie_shares",
    "measure_gap",
]
