from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import asr_data.sample
import asr_data.storage
from asr_data.rows import Layout
from asr_data_cli.app import build_app


def test_demo_annotates_the_sample_shows_and_validates_it(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    layout = Layout.model_validate({"kind": "preference", "columns": roles})
    counts = SimpleNamespace(annotated=0)
    manifest = SimpleNamespace(
        counts=counts,
        stage="masked",
        prefix="",
        mask=None,
        plan=SimpleNamespace(response_text=None, layout=layout),
        sides=("chosen", "rejected"),
    )
    empty = SimpleNamespace(manifest=manifest, data_batches=lambda: iter(()))
    problems: list[Any] = []
    monkeypatch.setattr(asr_data.storage, "open_output", lambda path: empty)
    monkeypatch.setattr(asr_data.storage, "validate", lambda path: problems)

    result = CliRunner().invoke(build_app(), ["demo"], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    assert library.calls["open_source"][0] == (str(asr_data.sample.sample_path()),)
    assert library.calls["run"][0][2] == Path("asr-demo")
    assert "valid: asr-demo" in result.stdout
    assert "asr-annotate inspect asr-demo --sample 5" in result.stdout

    problems.append(SimpleNamespace(file="data", row=None, message="broken"))
    assert CliRunner().invoke(build_app(), ["demo"]).exit_code == 1
