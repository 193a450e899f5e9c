"""Annotated directories of a rule's rewards, with a tiny tokenizer; and a browser to look at them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial as bind
from pathlib import Path
from typing import Any

import pytest

from asr_data.config import MaskConfig, OutputConfig
from asr_data.pairs import PairConfig
from asr_data.pipeline import run
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.rule import RuleScorer
from asr_data.storage import AnnotatedDirectory, open_output

Annotate = Callable[..., AnnotatedDirectory]
NAMES = ("chromium", "chromium-browser", "google-chrome")


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


@pytest.fixture
def pairs() -> list[dict[str, Any]]:
    """The rows that are annotated where none are given."""
    return PAIRS


def rule(prompt: Any, response: str) -> list[tuple[int, int, float]]:
    """A reward between −1 and 1 for each word, by its checksum."""
    words = re.finditer(r"\S+\s*", response)
    return [(m.start(), m.end(), zlib.crc32(m.group().encode()) / 2**31 - 1) for m in words]


def partial_rule(prompt: Any, response: str) -> list[tuple[int, int, float]]:
    """The same, with nothing said of words that begin with ``un``."""
    return [span for span in rule(prompt, response) if not response[span[0] :].startswith("un")]


@pytest.fixture(scope="session")
def annotate_into(make_tokenizer: Callable[..., Any]) -> Annotate:
    """``annotate_into(folder, rows, mask, tokenizer, columns, partial, pairs, **writing)``."""

    def make(
        folder: Path,
        rows: Sequence[Mapping[str, Any]] = PAIRS,
        mask: MaskConfig | None = None,
        tokenizer: Any = None,
        columns: Mapping[str, str] | None = None,
        partial: bool = False,
        pairs: PairConfig = PairConfig(),  # noqa: B008 - frozen
        **writing: Any,
    ) -> AnnotatedDirectory:
        path = folder / f"pairs-{len(list(folder.glob('pairs-*.jsonl')))}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        source = open_source(path)
        layout = detect(source.schema, first_records(source), columns).with_pairs(pairs)
        info = ScorerInfo("rule", "rule", "value", hashlib.sha256(b"rule").hexdigest(), partial=partial)
        scorer = RuleScorer(partial_rule if partial else rule, info)
        policy, output = tokenizer or make_tokenizer(), path.with_suffix("")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.fsync", lambda _: None)  # these tests kill no machine
            run(source, layout, output, scorer, policy, mask=mask or MaskConfig(), writing=OutputConfig(**writing))
        return open_output(output)

    return make


@pytest.fixture
def annotate(annotate_into: Annotate, tmp_path: Path) -> Annotate:
    """``annotate(rows, mask, tokenizer, columns, partial, pairs, **writing)``."""
    return bind(annotate_into, tmp_path)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium, which is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium has no sandbox for root, who runs the tests in containers.
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()
