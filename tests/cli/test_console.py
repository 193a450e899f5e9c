"""The summary's tables are whole in a terminal of 80 columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from asr_data.pipeline.summary import SideSummary
from asr_data_cli.console import side_table


@pytest.mark.parametrize(
    ("figures", "cells"),
    [
        (SideSummary(2, 20, 20, 2, 2, float("nan")), ["2", "20", "100.0 %", "2", "1.0", "100.0 %", "–"]),
        (
            SideSummary(160_000, 123_456_789, 123_456_789, 9_876_543, 9_876_543, -10.123),
            ["160,000", "123,456,789", "100.0 %", "9,876,543", "61.7", "100.0 %", "-10.123"],
        ),
    ],
    ids=["small", "large"],
)
def test_no_cell_and_no_heading_of_the_side_table_is_cut(figures: SideSummary, cells: list[str]) -> None:
    file = io.StringIO()
    Console(file=file, width=80).print(side_table({"rejected": figures}))
    text = file.getvalue()
    assert "…" not in text
    assert {"responses", "tokens", "kept", "segments", "response", "mean", "reward"} <= set(text.split())
    line = next(line for line in text.splitlines() if line.startswith(" rejected"))
    assert line.split() == ["rejected", *" ".join(cells).split()]
