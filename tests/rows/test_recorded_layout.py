"""The layout that a manifest has: taken as it was written, and not as somebody made it up."""

from __future__ import annotations

from typing import Any

import pytest

from asr_data.errors import CorruptFileError
from asr_data.rows import Layout, recorded_layout

PAIR = ("chosen", "rejected")
TRANSCRIPTS = {"kind": "transcripts", "columns": {"chosen": "a", "rejected": "b"}}


@pytest.mark.parametrize(
    ("layout", "sides"),
    [
        ({"kind": "preference", "columns": {"prompt": "p", "chosen": "a", "rejected": "b"}}, PAIR),
        ({"kind": "preference", "columns": {"instruction": "i", "chosen": "a", "rejected": "b", "system": "s"}}, PAIR),
        (TRANSCRIPTS, PAIR),
        ({"kind": "unpaired", "columns": {"messages": "m", "label": "l"}}, ("completion",)),
        ({"kind": "labelled", "columns": {}, "format": "prm800k"}, ("completion",)),
    ],
)
def test_as_it_was_written(layout: dict[str, Any], sides: Any) -> None:
    assert recorded_layout({"layout": layout}, sides) == Layout.model_validate(layout)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({}, "is no layout"),
        ({"layout": {**TRANSCRIPTS, "kind": "surprise"}}, "is no layout"),
        ({"layout": {**TRANSCRIPTS, "columns": {"chosen": "a"}}}, "does not fit its rows"),
        ({"layout": {**TRANSCRIPTS, "kind": "unpaired"}}, "does not fit its rows"),
        ({"layout": {**TRANSCRIPTS, "format": "surprise"}}, "does not fit its rows"),
        ({"layout": {"kind": "prompt_completion", "columns": {"messages": "m"}}}, "does not fit its rows"),
    ],
)
def test_as_somebody_made_it_up(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(CorruptFileError, match=message):
        recorded_layout(plan, PAIR)
