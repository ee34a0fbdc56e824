"""Small networks, most of them equivariant: what learned frames are computed from."""

from .circular_scorer import CircularScorer
from .deep_sets import DeepSets
from .gin import GIN
from .group_cnn import GroupCNN
from .image_scorer import ImageScorer
from .vector_neurons import VectorNeurons

__all__ = ["GIN", "CircularScorer", "DeepSets", "GroupCNN", "ImageScorer", "VectorNeurons"]
