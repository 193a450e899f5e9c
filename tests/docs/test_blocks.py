"""Every command and code block of every page runs, or says above itself why it cannot."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from asr_data_cli.app import build_app
from tests.docs.blocks import PAGES, ROOT, SHOWN_ONLY, blocks_of, commands, redirected

README = ROOT / "README.md"
"""Run by ``test_readme.py``, which looks at what comes out, too."""
COMMANDS = ROOT / "docs/commands.md"
"""Its examples are only read: most of them need a model or the Hub."""


def has_code(page: Path) -> bool:
    return any(block.language not in SHOWN_ONLY and block.reason is None for block in blocks_of(page))


@pytest.mark.filterwarnings("ignore")  # of trainers and models; none of them is ours
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in (README, COMMANDS) and has_code(page)], ids=lambda page: page.stem
)
def test_the_blocks_of_a_page_run(page: Path, run_page: Callable[[Path], dict[str, Any]]) -> None:
    run_page(page)


def test_the_examples_of_the_commands_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("input: pairs.jsonl\noutput: annotated\n")
    program: Any = typer.main.get_command(build_app())
    examples = [words for block in blocks_of(COMMANDS) for words in commands(block)]
    assert len(examples) > 20
    for _, name, *arguments in examples:
        program.commands[name].make_context(name, redirected(arguments)[0])  # reads every option, runs nothing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_fences_are_closed_and_marks_stand_above_a_block(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(page)
    assert len(re.findall(r"^```", text, flags=re.MULTILINE)) == 2 * len(blocks)
    assert text.count("<!-- not run:") == sum(block.reason is not None for block in blocks)
    shown = [block for block in blocks if block.language in SHOWN_ONLY]
    assert [block.place for block in shown if re.search(r"^(asr-annotate|python|pip|import) ", block.text, re.M)] == []
