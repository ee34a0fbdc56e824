"""The zoo: real cases of everything public, over which the laws run.

Frames come first, because cases of learned frames and of networks build on each other.
"""

from . import frames as frames
