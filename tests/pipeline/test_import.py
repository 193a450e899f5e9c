"""What imports what: data flows one way, no circles, and torch only where a model is run."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import asr_data
import asr_data.evaluation
import asr_data.pipeline

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = {"asr_data": ROOT, "asr_data_cli": ROOT / "cli", "asr_data_schemas": ROOT / "schemas"}

STAGES = ("rows", "text", "scoring", "segments", "masks", "storage", "pipeline")
"""Data flows through them in this order; a stage imports none that comes after it."""

BESIDE: dict[str, set[str]] = {
    # Read what a run has written.
    "evaluation": {"rows", "text", "scoring", "segments", "masks", "storage", "pipeline", "statistics", "labelling"},
    "tables": {"rows", "text", "storage", "pipeline"},
    "view": {
        "rows",
        "text",
        "segments",
        "masks",
        "storage",
        "pipeline",
        "evaluation",
        "tables",
        "statistics",
        "labelling",
    },
    "export": {"rows", "text", "storage"},
    "hub": {"storage"},
    # Train on it.
    "losses": set(),
    "trl": {"rows", "text", "scoring", "losses", "storage", "statistics", "judging"},
    # Have inputs and outputs of their own.
    "endpoints": {"storage"},
    "judging": {"rows", "storage", "statistics", "endpoints"},
    "critique": {"rows", "storage", "statistics", "endpoints"},
    "labelling": {"storage", "endpoints", "critique"},
    "training": {"rows", "text", "scoring", "statistics"},
    # Need nothing of ours.
    "statistics": set(),
    "sample": set(),
}
"""The packages that are no stage, and what each may import."""

ANYWHERE = {
    "errors",
    "types",
    "settings",
    "config",
    "response",
    "boundaries",
    "progress",
    "ragged",
    "model_cache",
    "file_hashes",
    "compiled",
    "redact",
    "http",
    "engines",
    "conditions",
    "pairs",
    "asr_data_schemas",
}
"""May be imported by every package, and import each other alone."""


def may_import(package: str) -> set[str]:
    """The packages that modules of a package may import beside those of their own."""
    if package == "asr_data_schemas":
        return set()
    if package == "config":  # names the segmenters and baselines, which are settings that live with their rules
        return {*ANYWHERE, "segments", "masks"}
    if package in ANYWHERE:
        return ANYWHERE
    if package == "asr_data":  # the front door: names that are imported when they are asked for
        return {"pipeline", "scoring", "segments", "evaluation", "tables", "config", "pairs"}
    own = set(STAGES[: STAGES.index(package)]) if package in STAGES else BESIDE[package]
    return own | ANYWHERE


def package_of(module: str) -> str:
    """``asr_data.text.align`` belongs to ``text``, and ``asr_data_schemas.codes`` to ``asr_data_schemas``."""
    names = module.split(".")
    return names[1] if names[0] == "asr_data" and len(names) > 1 else names[0]


@cache
def modules() -> Mapping[str, Path]:
    """Every module of ours and its file."""
    found = {}
    for name, root in SOURCE_ROOTS.items():
        for path in (root / name).rglob("*.py"):
            names = path.relative_to(root).with_suffix("").parts
            found[".".join(names[:-1] if names[-1] == "__init__" else names)] = path
    return found


def imports_of(module: str) -> Iterator[str]:
    """The modules of ours that a module imports: at its top, inside functions, and for type checking."""
    known = modules()
    for node in ast.walk(ast.parse(known[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & known.keys()
            yield from inner
            if node.module in known and len(inner) < len(node.names):
                yield node.module


@cache
def graph() -> Mapping[str, set[str]]:
    """Module to the modules that it imports."""
    return {module: set(imports_of(module)) - {module} for module in modules()}


def test_every_import_is_one_that_the_structure_allows() -> None:
    for module, others in graph().items():
        package = package_of(module)
        if package == "asr_data_cli":
            continue
        for other in map(package_of, others):
            assert other == package or other in may_import(package), f"{module} must not import {other}"


def test_packages_that_are_no_stage_are_in_no_circle() -> None:
    stages: Mapping[str, set[str]] = {stage: set(STAGES[:place]) for place, stage in enumerate(STAGES)}
    TopologicalSorter({**stages, **BESIDE}).prepare()


def test_no_module_imports_itself_by_way_of_others() -> None:
    # An ``__init__`` imports its modules for those outside: within the package it is not imported.
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" imports\n".join(reversed(error.args[1])))


def test_nothing_imports_the_command_line() -> None:
    for module, others in graph().items():
        if package_of(module) != "asr_data_cli":
            assert "asr_data_cli" not in map(package_of, others), module


@pytest.mark.parametrize("module", ["asr_data", "asr_data.pipeline", "asr_data.evaluation", "asr_data_cli.app"])
def test_importing_loads_neither_torch_nor_transformers(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'transformers', 'datasets'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", ["asr_data", "asr_data.config", "asr_data.masks", "asr_data_cli.app"])
def test_settings_compile_nothing(module: str) -> None:
    code = f"import sys, {module}, asr_data; asr_data.MaskConfig, asr_data.split; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_public_names_are_there() -> None:
    assert set(asr_data.__all__) <= set(dir(asr_data))
    assert all(getattr(asr_data, name) is not None for name in asr_data.__all__)
    assert asr_data.annotate is asr_data.pipeline.annotate
    assert asr_data.evaluate is asr_data.evaluation.evaluate
    with pytest.raises(AttributeError, match="no attribute 'anotate'"):
        asr_data.anotate  # noqa: B018
