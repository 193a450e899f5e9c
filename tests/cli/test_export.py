"""``export`` through the program: what is printed, written and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import Result
from typer.testing import CliRunner

from asr_data.export import Target
from asr_data.text import Tokenizer
from asr_data_cli.app import build_app
from asr_data_cli.export import TargetName
from tests.export.conftest import PAIRS, Workshop


@pytest.fixture
def annotated(tmp_path: Path, make_tokenizer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("os.fsync", lambda _: None)  # these tests kill no machine
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    make_tokenizer().hf.save_pretrained("policy dir")
    Workshop(tmp_path, Tokenizer(make_tokenizer().hf, "policy dir")).annotate(PAIRS)
    return "annotated"


def export(*arguments: Any) -> Result:
    return CliRunner().invoke(build_app(), ["export", *map(str, arguments)])


def test_the_configuration_is_printed_and_written(annotated: str) -> None:
    done = export(annotated, "--to", "llamafactory-dpo", "-o", "for llama", "--max-length", 40)
    assert done.exit_code == 0, done.output
    text = Path("for llama/llamafactory-dpo.yaml").read_text(encoding="utf-8")
    assert 'tokenized_path: "for llama"' in text
    assert 'model_name_or_path: "policy dir"' in text
    assert text in done.output
    assert "llamafactory-cli train 'for llama/llamafactory-dpo.yaml'" in done.output
    assert "truncated" in done.output


def test_segments_take_the_tokenizer_of_the_masks(annotated: str, make_tokenizer: Callable[..., Any]) -> None:
    done = export(annotated, "--to", "axolotl-segments", "-o", "out")
    assert done.exit_code == 0, done.output
    make_tokenizer("nfkc").hf.save_pretrained("other")
    done = export(annotated, "--to", "axolotl-segments", "-o", "out2", "--tokenizer", "other")
    assert done.exit_code == 2
    assert "tokenizer 'other' is not 'policy dir'" in done.output


def test_what_is_wrong_is_said(annotated: str) -> None:
    assert export(annotated, "--to", "trl-sft", "-o", "out").exit_code == 0
    again = export(annotated, "--to", "trl-sft", "-o", "out")
    assert (again.exit_code, "--overwrite" in again.output) == (1, True)
    assert export(annotated, "--to", "trl-sft", "-o", "out", "--overwrite", "--truncate", "start").exit_code == 0
    unknown = export(annotated, "--to", "trl-dpo", "-o", "new")
    assert (unknown.exit_code, "llamafactory-kto" in unknown.output) == (2, True)
    jsonl = export(annotated, "--to", "jsonl", "-o", "new", "--max-length", 5)
    assert (jsonl.exit_code, "no --max-length" in jsonl.output) == (2, True)
    missing = export("nowhere", "--to", "jsonl", "-o", "new")
    assert (missing.exit_code, "asr.json: missing" in missing.output) == (1, True)


def test_the_command_knows_every_format() -> None:
    assert get_args(TargetName) == get_args(Target)
