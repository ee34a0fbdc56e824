"""Discovering symmetry: which parameters share a value, which group is behind them, which generators move a function along itself."""

from .alignment import align_channels
from .automorphisms import Automorphisms, group_of
from .fields import Affine, Fields, Linear, Matrices, Polynomials, Shared
from .generators_result import Generators
from .generators_search import generators
from .lie_type import LieType, lie_type
from .lie_type_groups import Exponential
from .candidates import Candidates
from .inputs import Moment, Regression, cross_moment, least_squares
from .mdl import MDL, description_length
from .merging import Barrier, barrier, merge, repair, reset_statistics
from .partition import partition_distance
from .permutations import Permutations
from .representation import Block, LayerSymmetry, layer_symmetry
from .results import Retest, Row, Sharing
from .sharing import sharing

__all__ = [
    "MDL",
    "Affine",
    "Automorphisms",
    "Candidates",
    "Moment",
    "Barrier",
    "Block",
    "Exponential",
    "Fields",
    "Generators",
    "LayerSymmetry",
    "LieType",
    "Linear",
    "Matrices",
    "Permutations",
    "Polynomials",
    "Regression",
    "Retest",
    "Row",
    "Shared",
    "Sharing",
    "align_channels",
    "barrier",
    "cross_moment",
    "description_length",
    "generators",
    "group_of",
    "layer_symmetry",
    "lie_type",
    "merge",
    "least_squares",
    "partition_distance",
    "repair",
    "reset_statistics",
    "sharing",
]
