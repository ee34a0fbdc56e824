"""Auditing: how far a model is from the symmetry it should have, and whether that symmetry was declared rightly."""

from .advice import Advice, advise
from .assertion import assert_equivariant
from .auditor import audit
from .data import audit_data
from .data_error import SymmetryBreak
from .data_report import DataReport, Finding
from .dissent import Dissent
from .frame_law import frame_gap, measure_gap
from .laws import Law
from .layers import Layer
from .lie_layers import LieShares, Share, lie_shares
from .pose_out import PoseOut
from .randomization import Randomization
from .report import Report
from .search import Worst
from .sweep import Estimate

__all__ = [
    "Advice",
    "DataReport",
    "Dissent",
    "Estimate",
    "Finding",
    "Law",
    "Layer",
    "LieShares",
    "PoseOut",
    "Randomization",
    "Report",
    "Share",
    "SymmetryBreak",
    "Worst",
    "advise",
    "assert_equivariant",
    "audit",
    "audit_data",
    "frame_gap",
    "lie_shares",
    "measure_gap",
]
