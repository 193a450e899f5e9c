"""What imports what: torch only where a model is run, and data flows one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asr_data
import asr_data.pipeline

ROOT = Path(__file__).parents[2]
PACKAGES = {"asr_data": ROOT / "asr_data", "asr_data_cli": ROOT / "cli", "asr_data_schemas": ROOT / "schemas"}
COMMON = {"errors", "types", "response", "config"}
STAGES = ("rows", "text", "scoring", "segments", "masks", "storage", "pipeline")
"""DESIGN §8: data flows one way, and a stage knows none that comes after it."""

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "types": set(),
    "response": {"types"},
    "config": set(),
    "rows": set(),
    "text": set(),
    "scoring": {"text"},
    "segments": set(),
    "masks": {"segments"},
    "storage": {"asr_data_schemas"},
    "pipeline": {"rows", "text", "scoring", "segments", "masks", "storage", "evaluation", "asr_data_schemas"},
    # Beside the stages.
    "sample": set(),
    "evaluation": {"segments", "masks"},
    "view": {"rows", "text", "segments", "masks", "storage", "pipeline", "asr_data_schemas"},
    "losses": set(),
    "trl": {"rows", "text", "scoring", "losses", "asr_data_schemas"},
    "export": {"rows", "text", "storage", "asr_data_schemas"},
    "hub": {"storage"},
    "judging": {"rows", "storage", "evaluation", "asr_data_schemas"},
    "training": {"text", "scoring", "evaluation"},
    # The front door: names that are imported when they are asked for.
    "asr_data": {"pipeline", "scoring", "segments"},
    "asr_data_schemas": set(),
}


def part_of(module: str) -> str:
    """The stage or package that a module belongs to: ``asr_data.text.align`` to ``text``."""
    names = module.split(".")
    return names[1] if names[0] == "asr_data" and len(names) > 1 else names[0]


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [str(node.module)]
            if node.module == "asr_data":
                names = [f"asr_data.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


def edges() -> Iterator[tuple[str, str, Path]]:
    """``(part, imported part, file)`` of everything outside the command line."""
    for package, root in PACKAGES.items():
        if package == "asr_data_cli":
            continue
        for path in root.rglob("*.py"):
            relative = path.relative_to(root)
            if package == "asr_data":
                part = "asr_data" if relative == Path("__init__.py") else Path(relative.parts[0]).stem
            else:
                part = package
            for module in imported(path):
                if part_of(module) != part:
                    yield part, part_of(module), path


def test_every_import_is_one_that_the_structure_allows() -> None:
    for part, other, path in edges():
        assert part in MAY_IMPORT, f"{path.relative_to(ROOT)}: say in MAY_IMPORT what {part!r} may import"
        allowed = MAY_IMPORT[part] | (COMMON if part not in COMMON | {"asr_data_schemas"} else set())
        assert other in allowed, f"{path.relative_to(ROOT)} must not import {other}"


def test_the_structure_itself_flows_one_way() -> None:
    for place, stage in enumerate(STAGES):
        later = set(STAGES[place + 1 :])
        assert not MAY_IMPORT[stage] & later, f"{stage} would import what comes after it"
    knows_all = {part for part, others in MAY_IMPORT.items() if others >= set(STAGES) - {"pipeline"}}
    assert knows_all == {"pipeline"}


def test_nothing_imports_the_command_line() -> None:
    for _, other, path in edges():
        assert other != "asr_data_cli", path


@pytest.mark.parametrize("module", ["asr_data", "asr_data.pipeline", "asr_data_cli.app"])
def test_importing_loads_neither_torch_nor_transformers(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'transformers', 'datasets'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_public_names_are_there() -> None:
    assert asr_data.__all__ == ["load_scorer", "annotate", "evaluate", "split"]
    assert set(asr_data.__all__) <= set(dir(asr_data))
    assert asr_data.annotate is asr_data.pipeline.annotate
    assert asr_data.evaluate is asr_data.pipeline.evaluate
    with pytest.raises(AttributeError, match="no attribute 'anotate'"):
        asr_data.anotate  # noqa: B018
