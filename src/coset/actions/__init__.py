"""How groups move data: one kind of data a file; ``source >> target`` is the type of a map."""

from .base import Action
from .boxes import Boxes
from .coarse import Coarse
from .field import Field
from .image import Image, Mask
from .indices import BatchIndex, Edges, Permute, PointMask
from .irreps import Irreps
from .keypoints import Keypoints
from .layout import Layout
from .linear import Cell, Points, Pseudovectors, Tensors, Vectors
from .nodes import Nodes
from .periodic import Periodic
from .representations import Matrix, Regular
from .signature import Signature
from .still import Ignore, Trivial
from .trees import Dict, Pullback, Tuple
from .warp import Interpolation, Padding

__all__ = [
    "Action",
    "BatchIndex",
    "Boxes",
    "Cell",
    "Coarse",
    "Dict",
    "Edges",
    "Field",
    "Ignore",
    "Image",
    "Interpolation",
    "Irreps",
    "Keypoints",
    "Layout",
    "Mask",
    "Matrix",
    "Nodes",
    "Padding",
    "Periodic",
    "Permute",
    "PointMask",
    "Points",
    "Pseudovectors",
    "Pullback",
    "Regular",
    "Signature",
    "Tensors",
    "Trivial",
    "Tuple",
    "Vectors",
]
