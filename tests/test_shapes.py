"""The shapes that annotations promise hold at run time; wrong shapes are caught."""

from __future__ import annotations

import subprocess
import sys

PREAMBLE = """
from jaxtyping import install_import_hook
with install_import_hook("coset", "beartype.beartype"):
    import coset
    from coset import actions, frames, groups
    from coset.actions.irreps import wigner_d
    from coset.frames.clouds import centroid
import torch
"""

GOOD = """
x = torch.randn(3, 6, 3)
x[1, :, 2] = 0
x[2] = 0
for group in (groups.Orthogonal(3), groups.SpecialEuclidean(3)):
    signature = actions.Points(group) >> actions.Vectors(group)
    for frame in (frames.Minimal(), frames.Minimal(colours=frames.UNCOLOURED), frames.PCA(), frames.PCA(fallback=False)):
        model = coset.symmetrize(torch.nn.Linear(3, 3), signature, frame)
        out, stats = model(x, return_stats=True)
        measure = model.frame(x)
        print(out.shape, measure.entropy().shape, measure.integrate(measure.weights).shape)
S = groups.Symmetric()
coset.symmetrize(torch.nn.Linear(4, 4), actions.Permute(S, -1) >> actions.Permute(S, -1))(torch.ones(2, 4))
ragged = actions.Dict(pos=actions.Points(groups.Euclidean(3), batch="batch"))
signature = ragged >> actions.Vectors(groups.Euclidean(3))
coset.symmetrize(lambda pos, batch: pos, signature, frames.Minimal(of="pos", colours=frames.UNCOLOURED))(
    pos=torch.randn(5, 3), batch=torch.tensor([0, 0, 0, 1, 1])
)
print("all shapes hold", wigner_d(2, torch.eye(3)).shape)
"""

BAD = """
try:
    centroid(torch.randn(4, 3), None)
except Exception as error:
    print("caught", type(error).__name__)
"""


def run(code: str) -> str:
    """Run code in a process of its own, where every annotated shape is checked."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PREAMBLE + code], capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


def test_annotated_shapes_hold():
    assert "all shapes hold" in run(GOOD)


def test_a_wrong_shape_is_caught():
    assert "caught" in run(BAD)
