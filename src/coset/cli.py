"""The command line: ``coset audit``, ``coset audit-data``, ``coset discover``, ``coset cite``, ``coset demo``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_data import included, named_action, read_pairs
from .errors import CosetError, InputError, explain

app = typer.Typer(
    help="Measure, discover, cite and demonstrate the symmetry of PyTorch models and of data.", no_args_is_help=True, add_completion=False
)


@app.callback()
def _main() -> None:
    """Measure, discover, cite and demonstrate the symmetry of PyTorch models and of data."""


@app.command()
def audit(
    model: Annotated[str, typer.Argument(help="The model as package.module:attribute; a class or function without arguments is called.")],
    signature: Annotated[str, typer.Argument(help="Its signature source >> target, as package.module:attribute.")],
    data: Annotated[str, typer.Option(help="Inputs: a .npz, .npy or .pt file, or package.module:attribute.")],
    html: Annotated[Path | None, typer.Option(help="Write a page with plots.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all numbers.")] = None,
    samples: Annotated[int, typer.Option(help="Group elements per input.", min=1)] = 32,
    seed: Annotated[int, typer.Option(help="Seed of the random elements.")] = 0,
    fail_above: Annotated[float | None, typer.Option(help="Exit with 1 when the error is larger.")] = None,
) -> None:
    """Audit a model against its declared symmetry.

    Exits with 0 when it passed, with 1 past the bound or when the declared actions are wrong, with 2 when it cannot be run.
    """
    with _messages():
        import torch

        from .auditing import audit as run

        declared = load(signature)
        report = run(load(model), declared, read(data, declared), samples=samples, generator=torch.Generator().manual_seed(seed))
    from rich.console import Console

    Console().print(report)
    _write(html, lambda path: report.to_html(path, fail_above))
    _write(json, report.to_json)
    late = fail_above is not None and not report.passed(fail_above)
    if late:
        typer.echo(report.verdict(fail_above), err=True)
    raise typer.Exit(1 if late or report.failures else 0)


@app.command("audit-data")
def audit_data(
    data: Annotated[Path, typer.Argument(help="A .npz archive with inputs x, and targets y where there are any.")],
    action: Annotated[str, typer.Option(help="How a group moves them: C4, D4, Flip, S5, O3, SO3, or package.module:attribute.")],
    x: Annotated[str | None, typer.Option(help="The key of the inputs.")] = None,
    y: Annotated[str | None, typer.Option(help="The key of the targets.")] = None,
    model: Annotated[str | None, typer.Option(help="What judges the map: an estimator, as package.module:attribute.")] = None,
    subgroups: Annotated[str, typer.Option(help="Parts of the group to report too, such as C2,C4.")] = "",
    html: Annotated[Path | None, typer.Option(help="Write a page with plots.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all numbers.")] = None,
    samples: Annotated[int, typer.Option(help="Poses per sample.", min=2)] = 16,
    level: Annotated[float, typer.Option(help="Level of the tests.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the random elements.", min=0)] = 0,
) -> None:
    """Measure the symmetry of data: is the law of the inputs invariant, do targets follow, should a model be given the symmetry?

    Exits with 0 when it could be run, whatever was found, with 2 when it could not.
    """
    with _messages("data"):
        import torch

        from .auditing import audit_data as run

        inputs, targets = read_pairs(data, x, y)
        declared = load(action) if ":" in action else named_action(action, inputs)
        parts = tuple(included(name, declared.group) for name in filter(None, subgroups.split(",")))
        report = run(
            inputs,
            targets,
            declared,
            samples=samples,
            level=level,
            generator=torch.Generator().manual_seed(FAR + seed),
            model=None if model is None else load(model),
            subgroups=parts,
        )
    _show(report, html, json)


@app.command()
def discover(
    data: Annotated[Path, typer.Argument(help="A .npz archive with rows of inputs x and outputs y.")],
    candidates: Annotated[
        str, typer.Option(help="Permutation groups of the columns, such as C4,D4,S4,S2*S2; C, D and S if left out.")
    ] = "",
    x: Annotated[str | None, typer.Option(help="The key of the inputs.")] = None,
    y: Annotated[str | None, typer.Option(help="The key of the outputs.")] = None,
    linear: Annotated[bool, typer.Option("--linear", help="The map is linear: inputs may then have any law.")] = False,
    invariant: Annotated[bool, typer.Option("--invariant", help="Outputs stay, though they have as many columns.")] = False,
    free: Annotated[bool, typer.Option("--free", help="Search for any sharing of parameters instead of trying candidates.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all numbers.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split into a part to choose on and one to test on.", min=0)] = 0,
) -> None:
    """Find which permutations of columns are a symmetry of the map from x to y: choose on one half, test on the other.

    Exits with 0 when it could be run, whatever was found, with 2 when it could not.
    """
    with _messages("data"):
        from . import discover as library

        inputs, targets = read_pairs(data, x, y)
        if targets is None:
            raise InputError(explain(f"inputs alone in {data.name}", "outputs under y", "name them with --y, or use coset audit-data"))
        names = [name for name in candidates.split(",") if name.strip()]
        statistic = library.least_squares if linear else library.cross_moment
        method = library.MDL() if free else None
        finder = library.SymmetryFinder(names or None, statistic=statistic, method=method, invariant=invariant, seed=seed)
        report = finder.fit(inputs, targets).report_
    _show(report, html, json)


FAR = 5_281_944_007
"""Added to seeds of tests of data, which may have been drawn with small ones."""


def _show(report: Any, html: Path | None, json: Path | None) -> None:
    """Print a report, and write the files that were asked for."""
    from rich.console import Console

    Console().print(report)
    _write(html, report.to_html)
    _write(json, report.to_json)


def _write(path: Path | None, save: Callable[[Path], Any]) -> None:
    """Save to a path, if there is one."""
    if path is None:
        return
    with _messages("report"):
        try:
            save(path)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(explain(f"the output {str(path)!r}: {reason}", "a file that can be written", "check the folder")) from error
    typer.echo(f"wrote {path}")


@app.command()
def cite(model: Annotated[str, typer.Argument(help="The model as package.module:attribute.")]) -> None:
    """Print BibTeX for exactly the methods that a model uses."""
    with _messages():
        from .cite import cite as entries

        text = entries(load(model))
    typer.echo(text or "% this model uses no method that coset knows a paper for")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder for what it writes.")] = Path("demo_out"),
    seed: Annotated[int, typer.Option(help="Seed of networks, splits and group elements.")] = 0,
) -> None:
    """Symmetrize small models of molecules and digits, and write what happened as a page and as JSON."""
    with _messages():
        try:
            module = importlib.import_module("coset.demo")
        except ModuleNotFoundError as error:
            raise InputError(
                explain(f"no module {error.name!r}", "the demonstration and what it needs", "run: pip install 'coset[all]'")
            ) from error
        module.main(out, seed=seed)


@contextlib.contextmanager
def _messages(what: str = "code") -> Iterator[None]:
    """Turn exceptions into one line on the error stream and exit code 2."""
    try:
        yield
    except CosetError as error:
        typer.echo(f"coset: {error}", err=True)
        raise typer.Exit(2) from error
    except typer.Exit:
        raise
    except Exception as error:
        typer.echo(f"coset: {type(error).__name__} raised by the {what} under audit: {error}", err=True)
        raise typer.Exit(2) from error


def load(name: str) -> Any:
    """The object behind ``package.module:attribute``; builders without required arguments are called.

    Raises:
        InputError: when the module or the attribute does not exist.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise InputError(explain(f"the name {name!r}", "package.module:attribute", "write for instance mypackage.models:model"))
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            explain(f"no module {error.name!r} for {name!r}", "a module that can be imported", "check the name, or set PYTHONPATH")
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(
                explain(f"no attribute {attribute!r} in {module}", f"one of {_public(found)}", "check the name after the colon")
            )
        found = getattr(found, part)
    return found() if _builds(found) else found


def _public(owner: Any) -> str:
    names = [name for name in vars(owner) if not name.startswith("_")][:20] if hasattr(owner, "__dict__") else []
    return ", ".join(names) or "its attributes"


def _builds(found: Any) -> bool:
    """Whether a loaded object is a class or function that builds what was asked for."""
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return False
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def read(data: str, signature: Any) -> Any:
    """Inputs from a file or from a module, as the source takes them: by key, by position, or as one array.

    Raises:
        InputError: when the file does not exist or has another format.
    """
    path = Path(data)
    if ":" in data and not path.exists():
        return load(data)
    if not path.exists():
        raise InputError(explain(f"no file {data!r}", "a .npz, .npy or .pt file, or package.module:attribute", "check the path"))
    if path.suffix == ".pt":
        import torch

        found = torch.load(path, weights_only=True)
    elif path.suffix in (".npz", ".npy"):
        import numpy

        archive = numpy.load(path)
        found = dict(archive) if path.suffix == ".npz" else archive
    else:
        raise InputError(explain(f"the file {data!r}", "a .npz, .npy or .pt file", "save it with numpy.savez or torch.save"))
    return _fit(found, signature)


def _fit(found: Any, signature: Any) -> Any:
    """A dictionary of arrays as the one array, or the tuple, that the source takes."""
    from .actions import Dict, Tuple

    source = getattr(signature, "source", None)
    if not isinstance(found, dict) or isinstance(source, Dict):
        return found
    if isinstance(source, Tuple):
        return tuple(found.values())
    if len(found) != 1:
        raise InputError(
            explain(f"{len(found)} arrays {list(found)}", f"one array for {source}", "save one array, or declare actions.Dict")
        )
    return next(iter(found.values()))
