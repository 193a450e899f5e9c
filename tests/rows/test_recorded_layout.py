"""A layout that stands in a manifest: taken as it was written, and not as somebody made it up."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from asr_data.rows import Layout

TRANSCRIPTS = {"kind": "transcripts", "columns": {"chosen": "a", "rejected": "b"}}


@pytest.mark.parametrize(
    "layout",
    [
        {"kind": "preference", "columns": {"prompt": "p", "chosen": "a", "rejected": "b"}},
        {"kind": "preference", "columns": {"instruction": "i", "chosen": "a", "rejected": "b", "system": "s"}},
        TRANSCRIPTS,
        {"kind": "unpaired", "columns": {"messages": "m", "label": "l"}},
        {"kind": "labelled", "columns": {}, "format": "prm800k"},
    ],
)
def test_as_it_was_written(layout: dict[str, Any]) -> None:
    made = Layout.model_validate(layout)
    assert Layout.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({**TRANSCRIPTS, "kind": "surprise"}, "Input should be"),
        ({**TRANSCRIPTS, "columns": {"chosen": "a"}}, r"kind is transcripts, but the roles \(chosen\) are those of no"),
        ({**TRANSCRIPTS, "kind": "unpaired"}, "are those of preference_implicit_prompt"),
        ({**TRANSCRIPTS, "format": "surprise"}, "no such format: 'surprise'; allowed are"),
        ({"kind": "prompt_completion", "columns": {"messages": "m", "label": "l"}}, "kind is prompt_completion, but"),
    ],
)
def test_as_somebody_made_it_up(layout: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Layout.model_validate(layout)
