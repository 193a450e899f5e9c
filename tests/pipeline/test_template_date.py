"""A template that prints the date: one date for a run, whatever day its parts, its resumption and its masks are of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from asr_data.config import MaskConfig, Part
from asr_data.pipeline import merge
from asr_data.storage import open_output
from asr_data.storage.commit import observe
from tests.pipeline.conftest import CHATML
from tests.pipeline.killing import Killed, killed_at

DATED = "Today is {{ strftime_now('%d %b %Y') }}\n" + CHATML
FIRST, SECOND = date(2025, 1, 31), date(2025, 2, 1)


@pytest.fixture
def day(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets the day that templates would be told."""
    before, bench.tokenizer.hf.chat_template = bench.tokenizer.hf.chat_template, DATED

    def become(now: date) -> None:
        bench.tokenizer.date = None
        monkeypatch.setattr("asr_data.text.clock.today", lambda _hf: now)

    yield become
    bench.tokenizer.hf.chat_template, bench.tokenizer.date = before, None


def prompts(bench: Any, name: str) -> str:
    return str(bench.tokenizer.hf.decode(bench.table(name).column("prompt_ids").to_pylist()[0]))


def test_a_run_that_goes_on_another_day_keeps_its_date(bench: Any, pairs: Any, day: Any) -> None:
    path = bench.write(pairs)
    day(FIRST)
    bench.run(path, "whole", 3)
    day(FIRST)
    with pytest.raises(Killed), observe(killed_at(40)):
        bench.run(path, "out", 3)
    day(SECOND)
    bench.run(path, "out", 3)
    assert bench.files("out") == bench.files("whole")
    assert "Today is 31 Jan 2025" in prompts(bench, "out")
    assert open_output(bench.folder / "out").manifest.plan.template_date == FIRST


def test_parts_of_two_days_have_the_date_that_is_given(bench: Any, pairs: Any, day: Any) -> None:
    path = bench.write(pairs)
    day(FIRST)
    bench.run(path, "whole", 2, template_date=SECOND)
    for index, today in enumerate((FIRST, date(2025, 3, 3))):
        day(today)
        part = Part(num_shards=2, shard_index=index)
        bench.run(path, f"part{index}", 2, part=part, template_date=SECOND)
    merge([bench.folder / "part0", bench.folder / "part1"], bench.folder / "joined")
    assert bench.files("joined") == bench.files("whole")
    assert "Today is 01 Feb 2025" in prompts(bench, "joined")


def test_masks_of_another_day_have_the_ids_of_the_run(bench: Any, pairs: Any, day: Any) -> None:
    day(FIRST)
    bench.run(pairs)
    day(SECOND)
    bench.mask("out", "again", MaskConfig())
    assert bench.table("again").column("prompt_ids") == bench.table("out").column("prompt_ids")
    assert bench.table("again").column("asr_notes").to_pylist()[0] == ["template_date:2025-01-31"]
