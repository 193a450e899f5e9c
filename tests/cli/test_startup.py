"""What a command imports: queries wait for nothing that they do not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asr_data.storage import AnnotatedDirectory
from tests.view.conftest import Annotate, annotate, annotate_into

__all__ = ["annotate", "annotate_into"]

PROGRAM = """
import sys
from asr_data_cli.app import main
try:
    main()
except SystemExit as ended:
    assert ended.code in (0, None), ended.code
print(*sys.modules, file=sys.stderr)
"""
MODELS = {"torch", "transformers", "numba", "openai"}
FILES = {"datasets", "huggingface_hub", "jinja2", "yaml", "httpx2"}


@pytest.fixture
def pairs(annotate: Annotate) -> AnnotatedDirectory:
    return annotate([{"prompt": "q", "chosen": f"Yes. It is {n}.", "rejected": "Never."} for n in range(4)])


def loaded(*words: Any) -> set[str]:
    """The modules that a command has loaded when it is done."""
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


def test_looking_at_rows_needs_neither_models_nor_other_commands(pairs: AnnotatedDirectory, tmp_path: Path) -> None:
    others = {"asr_data_cli.annotate", "asr_data_cli.train", "asr_data.pipeline.commands"}
    asked = loaded("query", pairs.path, "SELECT asr_row, margin, chosen_text FROM rows")
    assert "polars" in asked
    assert not asked & (MODELS | FILES | others)
    assert not loaded("validate", pairs.path) & (MODELS | FILES | others)
    # It writes a dataset card, whose features and layout are those of datasets and jinja2.
    filtered = loaded("filter", pairs.path, "-o", tmp_path / "few", "--where", "asr_row > 1")
    assert not filtered & (MODELS | others)


def test_options_before_the_command_and_a_command_that_there_is_not() -> None:
    assert not loaded("--debug", "query", "--help") & (MODELS | {"asr_data_cli.annotate"})
    done = subprocess.run([sys.executable, "-c", PROGRAM, "qery", "x"], capture_output=True, text=True, check=False)
    assert "No such command 'qery'" in done.stderr
    assert "query" in done.stderr
