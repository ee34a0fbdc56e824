"""Who may import whom; that ``import coset`` is light; that ``coset.audit`` stays a function."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "coset"

BASE = {"errors", "tree"}
JUDGES = BASE | {"groups", "actions", "measure"}
BELOW = JUDGES | {"nn", "frames", "symmetrized", "auditing"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "tree": {"errors"},
    "groups": BASE,
    "measure": BASE | {"groups"},
    "actions": BASE | {"groups"},
    "nn": BASE | {"groups", "actions"},
    "ties": BASE | {"actions"},
    "orbits": BASE | {"actions"},
    "relaxed": JUDGES,
    "transport": JUDGES | {"ties"},
    "refine": JUDGES | {"transport"},
    "moments": BASE,
    "stats": BASE | {"moments"},
    "pieces": JUDGES | {"transport", "moments"},
    "frames": JUDGES | {"nn", "transport", "orbits", "relaxed"},
    "choose": JUDGES | {"nn", "frames"},
    "symmetrized": JUDGES | {"nn", "frames", "transport", "refine", "pieces", "choose", "stats"},
    "neighbours": set(),
    "environments": JUDGES | {"nn", "frames", "symmetrized", "neighbours"},
    "auditing": JUDGES | {"stats"},
    "adapt": BELOW,
    "discover": BELOW,
}
PUBLIC = {"interop", "cite", "cli", "cli_data", "demo"}
"""These see public names only: ``coset`` and its folders, never a module inside another folder."""

HEAVY = [
    "typer", "rich", "matplotlib", "scipy", "kornia", "ase", "transformers", "e3nn",
    "torch_geometric", "networkx", "sklearn", "pynauty", "lightning",
]  # fmt: skip


def imported(path: Path, package: str) -> list[str]:
    """The absolute names of the modules of coset that a file imports anywhere, type-checking blocks included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [f"{module}.{alias.name}" for alias in node.names] if module == "coset" else [module]
    return [name for name in found if name == "coset" or name.startswith("coset.")]


def violations(src: Path) -> list[str]:
    """Every import of the tree that the table does not allow."""
    bad = []
    for path in sorted(src.rglob("*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        if parts == ("__init__",) or parts == ("__main__",):
            continue
        for name in imported(path, ".".join(["coset", *parts[:-1]])):
            problem = verdict(parts[0], name, src)
            if problem:
                bad.append(f"{'/'.join(parts)}.py imports {name}: {problem}")
    return bad


def verdict(layer: str, name: str, src: Path) -> str | None:
    """Why ``layer`` may not import ``name``, or None."""
    words = name.split(".")
    target = words[1] if len(words) > 1 else None
    if layer not in ALLOWED and layer not in PUBLIC:
        return f"{layer} is not in the table; add it to tests/test_imports.py"
    if target == layer:
        return None
    if layer in PUBLIC:
        if target is not None and (target.startswith("_") or len(words) > 2):
            return f"{layer} may import public names only"
        return None
    if target is None or not ((src / target).is_dir() or (src / f"{target}.py").exists()):
        return "import from the module that defines the name, not from the package root"
    return None if target in ALLOWED[layer] else f"{layer} may import only {sorted(ALLOWED[layer])}"


def test_imports_follow_the_table():
    assert violations(SRC) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("groups/base.py", "from ..actions import base", "groups may import only"),
        ("groups/base.py", "from coset.actions.base import Action", "groups may import only"),
        ("actions/base.py", "def f():\n    import coset.frames", "actions may import only"),
        ("auditing/error.py", "from ..frames.base import Frame", "auditing may import only"),
        ("auditing/error.py", "from .. import symmetrized", "auditing may import only"),
        ("adapt/prior.py", "from ..discover import sharing", "adapt may import only"),
        ("cli.py", "from .actions.image import Image", "public names only"),
        ("tree.py", "import coset", "package root"),
        ("surprise.py", "import coset.tree", "not in the table"),
    ],
)
def test_the_table_catches_a_wrong_import(tmp_path, file, line, complaint):
    for folder in ("groups", "actions", "frames", "auditing", "adapt", "discover"):
        (tmp_path / folder).mkdir()
    for module in ("tree.py", "errors.py", "symmetrized.py"):
        (tmp_path / module).write_text("")
    (tmp_path / file).write_text(line)
    found = violations(tmp_path)
    assert len(found) == 1
    assert complaint in found[0]


def test_the_table_allows_what_it_says(tmp_path):
    for folder in ("groups", "actions"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tree.py").write_text("import torch")
    (tmp_path / "actions" / "a.py").write_text("from ..groups.base import Group\nfrom .b import B\nfrom ..tree import tree_map")
    (tmp_path / "cli.py").write_text("import coset\nfrom coset import groups, audit\nfrom . import actions")
    assert violations(tmp_path) == []


PROBE = """
import json, sys
import torch
before = set(sys.modules)
import coset
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def python(code: str, src: Path) -> str:
    """Run code in a fresh interpreter that finds coset in ``src``."""
    environment = {**os.environ, "PYTHONPATH": str(src)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def heavy(src: Path) -> list[str]:
    """The heavy modules that ``import coset`` adds to ``import torch``."""
    return sorted(set(json.loads(python(PROBE, src))) & set(HEAVY))


def test_importing_coset_adds_nothing_heavy():
    assert heavy(SRC.parent) == []


def test_a_heavy_import_is_noticed(tmp_path):
    shutil.copytree(SRC, tmp_path / "coset", ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "coset" / "__init__.py", "a") as file:
        file.write("\nimport rich\n")
    assert heavy(tmp_path) == ["rich"]


EVERY = """
import importlib, pkgutil, types
import coset
for module in pkgutil.walk_packages(coset.__path__, "coset."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in ("audit", "symmetrize"):
    assert isinstance(getattr(coset, name), types.FunctionType), f"coset.{name} is {getattr(coset, name)!r}"
print("functions")
"""


def test_the_verbs_are_functions_after_importing_everything():
    assert python(EVERY, SRC.parent).strip() == "functions"
