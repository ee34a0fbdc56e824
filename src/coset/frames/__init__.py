"""x -> Measure, one idea a file."""

from .average import Full, Given, Haar, Quadrature, Stochastic
from .base import Frame
from .canonicalizer import Canonicalizer
from .center import Center
from .chain import Chain
from .confidence import Confidence
from .cosets import RandomCosets
from .eigenvectors import EigenReport, Eigenvectors
from .gradients import Blended, Detached, Expected
from .graphs import CanonicalGraph, canonical_graph
from .minimal import UNCOLOURED, Minimal
from .minimize import Minimize
from .multistart import Multistart
from .noise import Gumbel, Noise, Normal, NormalVectors, Uniform
from .orbit_distance import OrbitDistance
from .orthonormal import GramSchmidt, Polar
from .pca import PCA
from .peak import Peak
from .phase import Phase
from .polyphase import Polyphase
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
    "Blended",
    "CanonicalGraph",
    "Canonicalizer",
    "Center",
    "Chain",
    "Confidence",
    "Detached",
    "EigenReport",
    "Eigenvectors",
    "Expected",
    "Frame",
    "Full",
    "Given",
    "GramSchmidt",
    "Gumbel",
    "Haar",
    "Minimal",
    "Minimize",
    "Multistart",
    "Noise",
    "Normal",
    "NormalVectors",
    "OrbitDistance",
    "Peak",
    "Phase",
    "Polar",
    "Polyphase",
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
