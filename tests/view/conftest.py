"""Annotated directories of a rule's rewards, with a tiny tokenizer."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from asr_data.config import MaskConfig, OutputConfig
from asr_data.pipeline import run
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.rule import RuleScorer
from asr_data.storage import AnnotatedDirectory, open_output

Annotate = Callable[..., AnnotatedDirectory]


def pair(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        **more,
    }


PAIRS = [
    pair("What is two and two?", "The answer is four. That is all there is.", "It is five, or so I think. Sorry."),
    pair("Wie spät ist es?", "Es ist zwölf Uhr. Das Café 🙂 ist auf.", "日本語の答え。 It is so."),
    pair("Add the numbers.", "Step 1: add.\n\nStep 2: divide.\nStep 3: done.", "There is no answer. It is what it is."),
    pair("Empty?", "Yes.", "   "),
    pair("Short?", "Yes, it is.", "No."),
]
"""The fourth is rejected: a response is empty."""


def rule(prompt: Any, response: str) -> list[tuple[int, int, float]]:
    """A reward between −1 and 1 for each word, by its checksum."""
    words = re.finditer(r"\S+\s*", response)
    return [(m.start(), m.end(), zlib.crc32(m.group().encode()) / 2**31 - 1) for m in words]


@pytest.fixture
def annotate(tmp_path: Path, make_tokenizer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Annotate:
    """``annotate(rows, mask, name, tokenizer, columns, **writing)``."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # these tests kill no machine

    def make(
        rows: Sequence[Mapping[str, Any]] = PAIRS,
        mask: MaskConfig | None = None,
        name: str = "annotated",
        tokenizer: Any = None,
        columns: Mapping[str, str] | None = None,
        **writing: Any,
    ) -> AnnotatedDirectory:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        source = open_source(path)
        layout = detect(source.schema, first_records(source), columns)
        scorer = RuleScorer(rule, ScorerInfo("rule", "rule", "value", hashlib.sha256(b"rule").hexdigest()))
        policy = tokenizer or make_tokenizer()
        output = tmp_path / name
        run(source, layout, output, scorer, policy, mask=mask or MaskConfig(), writing=OutputConfig(**writing))
        return open_output(output)

    return make
