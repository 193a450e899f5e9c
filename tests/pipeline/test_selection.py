from __future__ import annotations

from typing import Any

from asr_data.pipeline import run
from asr_data.storage import open_output, validate
from tests.rows.test_selection import ROWS


def test_nothing_left_out_is_scored_and_the_plan_says_so(bench: Any) -> None:
    source, layout = bench.open(ROWS)
    bench.scorer.scored.clear()
    summary = run(source.selecting("topic = 'a'"), layout, bench.folder / "a", bench.scorer, bench.tokenizer)
    assert bench.scorer.scored == [0, 2, 4, 6, 8]
    assert (summary.rows, summary.annotated, summary.rejects) == (9, 5, {"left_out": 4})
    assert bench.rejects("a").keys() == {1, 3, 5, 7}
    assert open_output(bench.folder / "a").manifest.plan.input.where == "topic = 'a'"
    assert validate(bench.folder / "a") == []
