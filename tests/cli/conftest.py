"""Stand-ins for the library, so that the tests of the command line load no model."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import asr_data
import asr_data.pipeline
import asr_data.rows
import asr_data.text
import asr_data.training.sources  # a module keeps the names that it finds when it is first loaded

SUMMARY = SimpleNamespace(
    path=Path("out dir"),
    rows=12,
    annotated=10,
    rejected=2,
    rejects={"empty_response": 2},
    notes={"truncated": 3},
    sides={
        "chosen": SimpleNamespace(
            responses=10,
            tokens=1_000,
            kept_tokens=750,
            segments=50,
            kept_segments=40,
            mean_reward=0.5,
            unknown_responses=0,
            by_position=None,
            weight_sum=None,
        )
    },
    seconds=20.0,
    tokens=4_000,
    unknown="keep",
    pairs=None,
)


@dataclass
class Library:
    """Calls that reached the library: function name to positional and keyword arguments."""

    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    failure: BaseException | None = None
    summary: Any = field(default_factory=lambda: SUMMARY)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pipeline = ModuleType("asr_data.pipeline")
        pipeline.__path__ = asr_data.pipeline.__path__  # what imports one of its modules gets the real one
        for name in ("check_before_scoring", "run", "score", "mask"):
            setattr(pipeline, name, self._recorder(name, lambda: self.summary))
        pipeline.first_rows = lambda _source, _layout: []  # type: ignore[attr-defined] # of a stand-in
        monkeypatch.setitem(sys.modules, "asr_data.pipeline", pipeline)
        monkeypatch.setattr(asr_data, "pipeline", pipeline, raising=False)
        source = SimpleNamespace(description="pairs.jsonl, 12 rows", schema=None, notes=())
        source.first = lambda _rows: source
        layout = SimpleNamespace(describe=lambda: "preference pairs [with] a prompt", unread_system=lambda _: None)
        layout.with_pairs = lambda _pairs: layout
        settings = {"recognised": "its own settings"}
        info = SimpleNamespace(name="builtin", kind="token_head", form="value", settings=settings)
        scorer = SimpleNamespace(info=info, tokenizer=SimpleNamespace(name="own"))
        answers = {
            (asr_data.rows, "open_source"): lambda: source,
            (asr_data.rows, "first_records"): list,
            (asr_data.rows, "detect"): lambda: layout,
            (asr_data, "load_scorer"): lambda: scorer,
            (asr_data.text, "load_tokenizer"): lambda: SimpleNamespace(name="policy"),
        }
        for (module, name), answer in answers.items():
            monkeypatch.setattr(module, name, self._recorder(name, answer), raising=False)

    def _recorder(self, name: str, answer: Any) -> Any:
        def record(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] = (args, kwargs)
            if self.failure is not None:
                raise self.failure
            return answer()

        return record


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    fake = Library()
    fake.install(monkeypatch)
    return fake
