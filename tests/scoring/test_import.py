"""Modules of ``asr_data.scoring`` import each other one way, inside functions and for type checkers too."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import asr_data.scoring

ROOT = Path(asr_data.scoring.__file__).parent


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(path: Path) -> set[str]:
    """Modules of scoring that a file imports anywhere in it."""
    names = [module_name(file) for file in ROOT.rglob("*.py")]
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            asked = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        elif isinstance(node, ast.Import):
            asked = [alias.name for alias in node.names]
        else:
            continue
        found |= {name for name in names if f"asr_data.scoring.{name}".rstrip(".") in asked}
    return found


def test_modules_form_no_circle() -> None:
    graph = {module_name(path): imported(path) for path in ROOT.rglob("*.py")}
    assert "decoder" in graph["load"]
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"an import circle: {' -> '.join(reversed(error.args[1]))}")
    assert order.index("decoder") < order.index("contrast") < order.index("load")
