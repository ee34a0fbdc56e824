"""Without lightning the module is importable, and asking for its class names the extra."""

from __future__ import annotations

import sys

import pytest

from coset import CosetError
from coset.interop import lightning_


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(vars(lightning_), "Adaptation", raising=False)
    with pytest.raises(CosetError, match=r"coset\[train\]"):
        lightning_.Adaptation


def test_other_names_are_missing_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        lightning_.Other
