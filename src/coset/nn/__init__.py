"""Small networks, most of them equivariant, that learned frames are computed from; linear layers for any two actions."""

from .circular_scorer import CircularScorer
from .deep_sets import DeepSets
from .equivariant_basis import EquivariantBasis, equivariant_basis
from .equivariant_linear import EquivariantLinear
from .gin import GIN
from .group_cnn import GroupCNN
from .image_scorer import ImageScorer
from .vector_neurons import VectorNeurons

__all__ = [
    "GIN",
    "CircularScorer",
    "DeepSets",
    "EquivariantBasis",
    "EquivariantLinear",
    "GroupCNN",
    "ImageScorer",
    "VectorNeurons",
    "equivariant_basis",
]
