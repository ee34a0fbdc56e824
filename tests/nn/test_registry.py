"""Every public network has at least three cases in the zoo."""

from __future__ import annotations

import torch

from coset import cite, nn
from tests.test_registry import faults
from tests.zoo.equivariant_linear import LINEAR_NETWORKS
from tests.zoo.image_networks import IMAGE_NETWORKS
from tests.zoo.networks import NETWORKS as POINT_NETWORKS

NETWORKS = {**POINT_NETWORKS, **IMAGE_NETWORKS, **LINEAR_NETWORKS}


def test_everything_public_is_registered():
    assert faults(nn, torch.nn.Module, NETWORKS) == []


def test_the_check_sees_what_is_missing():
    for kind in NETWORKS:
        assert faults(nn, torch.nn.Module, {other: cases for other, cases in NETWORKS.items() if other is not kind}) != []
        assert faults(nn, torch.nn.Module, {**NETWORKS, kind: NETWORKS[kind][:2]}) == [f"{kind.__name__} has 2 cases"]


def test_networks_name_their_papers():
    for kind, cases in NETWORKS.items():
        assert cite(cases[0].build(torch.float32)).count("@inproceedings") == len(kind.references) == 1
