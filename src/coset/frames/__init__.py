"""x -> Measure, one idea a file."""

from .average import Full, Given, Haar, Quadrature, Stochastic
from .base import Frame
from .center import Center
from .chain import Chain
from .cosets import RandomCosets
from .eigenvectors import EigenReport, Eigenvectors
from .graphs import CanonicalGraph, canonical_graph
from .minimal import UNCOLOURED, Minimal
from .pca import PCA
from .relabel import Relabel
from .sort import Sort
from .until import Until
from .weighted import Weighted
from .weighted_sort import WeightedSort

__all__ = [
    "PCA",
    "UNCOLOURED",
    "CanonicalGraph",
    "Center",
    "Chain",
    "EigenReport",
    "Eigenvectors",
    "Frame",
    "Full",
    "Given",
    "Haar",
    "Minimal",
    "Quadrature",
    "RandomCosets",
    "Relabel",
    "Sort",
    "Stochastic",
    "Until",
    "Weighted",
    "WeightedSort",
    "canonical_graph",
]
