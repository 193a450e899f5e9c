"""``docs/paper.md`` names modules, options, tests and files: each is there, and no point of the paper is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest
import typer

from asr_data_cli.app import build_app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]
NAMES = [name for row in ROWS for cell in row[2:] for name in re.findall(r"`([^`]+)`", cell)]

POINTS = (
    *(f"eq. {number}" for number in range(1, 16)),
    *(f"figure {number}" for number in range(1, 6)),
    "table 1", "§1", "§2.1", "§2.2.1–2.2.3", "§3.1", "§3.1.1", "§3.1.2", "§3.2", "§4.1", "§4.2", "§5", "§6",
    "A.1", "A.2", "B", "C", "D", "E", "F", "F.1", "G",
)  # fmt: skip


def starting(*prefixes: str) -> Iterator[str]:
    """The names of the page that begin so."""
    return (name for name in NAMES if name.startswith(prefixes))


def parameters() -> dict[str, set[str]]:
    """Each command and its options."""
    group = typer.main.get_command(build_app())
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()  # type: ignore[attr-defined]  # a group, whose class Typer hides
    }


def test_every_point_of_the_paper_has_a_row() -> None:
    said = [point for row in ROWS for point in re.split(r", (?=F\.1)", row[0])]
    missing = [p for p in POINTS if not any(cell == p or cell.startswith(f"{p},") for cell in said)]
    assert missing == []


def test_every_row_has_all_its_cells() -> None:
    assert {len(row) for row in ROWS} == {5}
    assert [row[0] for row in ROWS if row[2] == "—" and row[4] == "—"] == []


@pytest.mark.parametrize("name", sorted(set(starting("asr_data."))))
def test_modules_and_what_is_in_them(name: str) -> None:
    assert resolve_name(name) is not None


@pytest.mark.parametrize("name", sorted(set(starting("tests/", "docs/", "examples/"))))
def test_files_and_tests(name: str) -> None:
    path, _, test = name.partition("::")
    assert (ROOT / path).exists(), path
    if test:
        assert re.search(rf"^def {test}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), name


@pytest.mark.parametrize("name", sorted(set(starting("asr-annotate "))))
def test_commands_and_their_options(name: str) -> None:
    _, command, *words = name.split()
    assert command in parameters()
    assert {word for word in words if word.startswith("--")} <= parameters()[command]


@pytest.mark.parametrize("name", sorted(set(starting("--"))))
def test_options(name: str) -> None:
    every = set().union(*parameters().values())
    assert {word for word in name.split() if word.startswith("--")} <= every
