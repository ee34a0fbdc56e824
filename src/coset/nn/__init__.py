"""Small equivariant networks: what learned frames are computed from."""

from .deep_sets import DeepSets
from .gin import GIN
from .vector_neurons import VectorNeurons

__all__ = ["GIN", "DeepSets", "VectorNeurons"]
