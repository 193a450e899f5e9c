"""A critic on loopback, and small data sets to be reviewed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from asr_data.critique import Critic, CritiqueReport, CritiqueSettings, RequestSettings, critique, review_layout
from asr_data.rows import open_source
from tests.judging.server import Asked, JudgeServer

pytest.importorskip("openai", reason="the package openai is missing: pip install 'asr-data[judge]'")

KEY = "sk-DummyKeyForTestsOnly"
QUIET = RequestSettings(concurrency=1, retries=2, timeout=10)
ROWS = [
    {"prompt": "What is 2 + 2?", "chosen": "It is four.", "rejected": "It is five. Trust me."},
    {"prompt": "Name a colour.", "chosen": "Blue.", "rejected": "Seven, a colour of the sky."},
    {"prompt": "Where is Paris?", "chosen": "In France.", "rejected": "In Italy. In Italy."},
]
WRONG = ("five", "Seven", "In Italy")
Ask = Callable[..., CritiqueReport]


def fault(quote: str, kind: str = "fact", severity: str = "major", context: str = "", reason: str = "wrong") -> Any:
    return {"quote": quote, "context": context, "kind": kind, "severity": severity, "reason": reason}


def saying(*quotes: Any) -> str:
    return json.dumps({"faults": [fault(one) if isinstance(one, str) else one for one in quotes]})


def response(asked: Asked) -> str:
    text = asked.part("RESPONSE")
    assert text is not None
    return text


def by_words(asked: Asked) -> str:
    """Every word of :data:`WRONG` that stands in the response is a fault."""
    return saying(*(word for word in WRONG if word in response(asked)))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("os.fsync", lambda _: None)  # these tests kill no machine


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer(by_words) as running:
        yield running


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[[Sequence[dict[str, Any]]], Path]:
    def write(rows: Sequence[dict[str, Any]]) -> Path:
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def ask(server: JudgeServer, write_rows: Callable[..., Path], tmp_path: Path) -> Ask:
    """Reviews rows; by the model "m" unless others are named."""

    def run(
        rows: Sequence[dict[str, Any]] = ROWS,
        *,
        models: Sequence[str] = ("m",),
        output: str = "critiqued",
        requests: RequestSettings = QUIET,
        more: dict[str, Any] | None = None,
        columns: dict[str, str] | None = None,
        limit: int | None = None,
        prefix: str = "",
        overwrite: bool = False,
        **settings: Any,
    ) -> CritiqueReport:
        source = open_source(write_rows(rows))
        critics = [Critic(**{"model": model, "endpoint": server.url, **(more or {})}) for model in models]
        return critique(
            source, review_layout(source, columns), tmp_path / output, critics,
            settings=CritiqueSettings(**settings), limit=limit, prefix=prefix, requests=requests, overwrite=overwrite,
        )  # fmt: skip

    return run
