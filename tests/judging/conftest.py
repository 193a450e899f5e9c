"""A judge on loopback, and small data sets to be judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from asr_data.judging import Judge, JudgeReport, RequestSettings, answers_layout, judge
from asr_data.rows import open_source
from tests.judging.server import JudgeServer

pytest.importorskip("openai", reason="the package openai is missing: pip install 'asr-data[judge]'")

KEY = "sk-DummyKeyForTestsOnly"
QUIET = RequestSettings(concurrency=1, retries=2, timeout=10)
ROWS = [
    {"prompt": "p0", "tuned": "good!", "base": "bad"},
    {"prompt": "p1", "tuned": "bad", "base": "good!"},
    {"prompt": "p2", "tuned": "so so", "base": "no better"},
    {"prompt": "p3", "tuned": "good!!", "base": "bad"},
]
Ask = Callable[..., JudgeReport]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("os.fsync", lambda _: None)  # these tests kill no machine


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[[Sequence[dict[str, Any]]], Path]:
    def write(rows: Sequence[dict[str, Any]]) -> Path:
        path = tmp_path / "answers.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def ask(server: JudgeServer, write_rows: Callable[..., Path], tmp_path: Path) -> Ask:
    """Judges rows with ``tuned`` and ``base``; by the model "m" unless others are named."""

    def run(
        rows: Sequence[dict[str, Any]] = ROWS,
        *,
        models: Sequence[str] = ("m",),
        output: str = "judged",
        requests: RequestSettings = QUIET,
        more: dict[str, Any] | None = None,
        **options: Any,
    ) -> JudgeReport:
        source = open_source(write_rows(rows))
        layout = answers_layout(source, "tuned", "base")
        judges = [Judge.model_validate({"model": m, "endpoint": server.url, **(more or {})}) for m in models]
        return judge(source, layout, tmp_path / output, judges, requests=requests, **options)

    return run
