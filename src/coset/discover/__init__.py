"""Discovering symmetry: which parameters share a value, which group is behind them, which generators move a function along itself."""

from .alignment import align_channels
from .automorphisms import Automorphisms, group_of
from .candidates import Candidates
from .estimator import SymmetryFinder
from .fields import Affine, Fields, Linear, Matrices, Polynomials, Shared
from .finding import FoundSymmetry
from .generators_result import Generators
from .generators_search import generators
from .hypergradients import ConjugateGradient, Exact, Neumann, hypergradient
from .inputs import Moment, Regression, cross_moment, least_squares
from .lie_type import LieType, lie_type
from .lie_type_groups import Exponential
from .mdl import MDL, description_length
from .merging import Barrier, barrier, merge, repair, reset_statistics
from .modules import Descent, ModuleSharing, Newton, bilevel
from .named import named_candidates, named_group
from .partition import partition_distance
from .permutations import Permutations
from .relaxation import Penalty
from .representation import Block, LayerSymmetry, layer_symmetry
from .results import Retest, Row, Sharing
from .shared import sharing
from .subspaces import Subspace, subspace
from .two_level import Bilevel

__all__ = [
    "MDL",
    "Affine",
    "Automorphisms",
    "Barrier",
    "Bilevel",
    "Block",
    "Candidates",
    "ConjugateGradient",
    "Descent",
    "Exact",
    "Exponential",
    "Fields",
    "FoundSymmetry",
    "Generators",
    "LayerSymmetry",
    "LieType",
    "Linear",
    "Matrices",
    "ModuleSharing",
    "Moment",
    "Neumann",
    "Newton",
    "Penalty",
    "Permutations",
    "Polynomials",
    "Regression",
    "Retest",
    "Row",
    "Shared",
    "Sharing",
    "Subspace",
    "SymmetryFinder",
    "align_channels",
    "barrier",
    "bilevel",
    "cross_moment",
    "description_length",
    "generators",
    "group_of",
    "hypergradient",
    "layer_symmetry",
    "least_squares",
    "lie_type",
    "merge",
    "named_candidates",
    "named_group",
    "partition_distance",
    "repair",
    "reset_statistics",
    "sharing",
    "subspace",
]
