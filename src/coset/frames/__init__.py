"""x -> Measure, one idea a file."""

from .average import Full, Given, Haar, Quadrature, Stochastic
from .base import Frame
from .canonicalizer import Canonicalizer
from .center import Center
from .chain import Chain
from .cosets import RandomCosets
from .eigenvectors import EigenReport, Eigenvectors
from .graphs import CanonicalGraph, canonical_graph
from .minimal import UNCOLOURED, Minimal
from .noise import Gumbel, Noise, Normal, NormalVectors, Uniform
from .orbit_distance import OrbitDistance
from .orthonormal import GramSchmidt, Polar
from .pca import PCA
from .probabilistic import Probabilistic
from .relabel import Relabel
from .retracted import Retraction
from .retractions import Argmax, Argsort
from .sort import Sort
from .until import Until
from .weighted import Weighted
from .weighted_sort import WeightedSort

__all__ = [
    "PCA",
    "UNCOLOURED",
    "Argmax",
    "Argsort",
    "CanonicalGraph",
    "Canonicalizer",
    "Center",
    "Chain",
    "EigenReport",
    "Eigenvectors",
    "Frame",
    "Full",
    "Given",
    "GramSchmidt",
    "Gumbel",
    "Haar",
    "Minimal",
    "Noise",
    "Normal",
    "NormalVectors",
    "OrbitDistance",
    "Polar",
    "Probabilistic",
    "Quadrature",
    "RandomCosets",
    "Relabel",
    "Retraction",
    "Sort",
    "Stochastic",
    "Uniform",
    "Until",
    "Weighted",
    "WeightedSort",
    "canonical_graph",
]
