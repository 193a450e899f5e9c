"""``view`` from words to the server, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import asr_data.view.server.serve
from asr_data_cli.app import build_app


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def serve(paths: Any, *, ready: Any, **options: Any) -> None:
        made.append({"paths": paths, **options})
        ready("http://127.0.0.1:8000/?token=secret")

    monkeypatch.setattr(asr_data.view.server.serve, "serve", serve)
    return made


def call(*words: str) -> Result:
    return CliRunner().invoke(build_app(), ["view", *words], env={"COLUMNS": "100"})


def test_defaults(calls: list[dict[str, Any]]) -> None:
    result = call("annotated", "--annotator", "anna")
    assert result.exit_code == 0
    assert result.output == "http://127.0.0.1:8000/?token=secret\nCtrl-C ends it.\n"
    [made] = calls
    assert (made["paths"], made["host"], made["port"], made["gold"]) == ([Path("annotated")], "127.0.0.1", 0, None)
    assert (made["labelling"].path, made["labelling"].annotator) == (Path("labels.jsonl"), "anna")
    assert made["keeping"].path == Path("run.yaml")


def test_another_address_is_warned_of(calls: list[dict[str, Any]]) -> None:
    result = call("a", "b", "--host", "0.0.0.0", "--allow-host", "box.lan", "--kinds", "style, fact")  # noqa: S104
    assert "can be reached from other machines" in result.output
    [made] = calls
    assert (made["hosts"], made["labelling"].kinds) == (["box.lan"], ("style", "fact"))


def test_wrong_words(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    assert call("a", "--kinds", "x,x").exit_code == 2
    assert call("a", "--annotator", " ").exit_code == 2
    assert call("a", "--port", "70000").exit_code == 2
    assert call().exit_code == 2
    assert calls == []
