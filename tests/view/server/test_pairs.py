"""Several pairs of a row on the page: each is found, shown, labelled and compared by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asr_data.config import MaskConfig
from asr_data.errors import InputError
from asr_data.labelling import read_entries
from asr_data.pairs import PairConfig
from asr_data.view.server.directories import Viewed
from asr_data.view.server.labels import Labels, LabelSettings
from asr_data.view.server.queue import Place, by_chance

ROWS = [
    {"prompt": "First?", "completions": ["Alpha one.", "Beta two.", "Gamma three."], "ranks": [1, 2, 3]},
    {"prompt": "Second?", "completions": ["Delta four.", "Epsilon five."], "ranks": [1, 2]},
]
KEYS = [(0, 0), (0, 1), (0, 2), (1, 0)]


@pytest.fixture
def annotated(annotate: Any) -> Any:
    return annotate(ROWS, pairs=PairConfig(rule="all"))


def test_rows_are_found_by_row_and_pair(annotated: Any) -> None:
    viewed = Viewed(annotated, "x", "none", None)
    assert [viewed.position(row, pair) for row, pair in KEYS] == [0, 1, 2, 3]
    assert [viewed.position(row) for row in (0, 1)] == [0, 3]
    assert [viewed.position(row, pair) for row, pair in ((0, 3), (1, 1), (2, 0), (2**62, 0), (0, 2**62))] == [None] * 5
    assert [viewed.pair_of(position) for position in range(4)] == [0, 1, 2, 0]


def test_a_page_of_pairs(annotated: Any, serve: Any) -> None:
    served = serve(annotated)
    rows = served.ask("rows")["rows"]
    assert [(row["row"], row["pair"]) for row in rows] == KEYS
    assert served.ask("rows", {"row": 0, "pair": 2, "count": 1})["offset"] == 2
    assert served.ask("rows", {"row": 1, "count": 1})["offset"] == 3
    assert "no annotated row 1, pair 7" in served.ask("rows", {"row": 1, "pair": 7})["error"]


def test_two_directories_are_compared_pair_by_pair(annotate: Any, annotated: Any, serve: Any) -> None:
    other = annotate(ROWS, mask=MaskConfig.model_validate({"segmenter": "step"}), pairs=PairConfig(rule="all"))
    rows = serve(annotated, other).ask("rows", {"filter": {"sort": "apart", "descending": True}})["rows"]
    assert sorted((row["row"], row["pair"]) for row in rows) == KEYS
    for row in rows:
        first, second = row["panels"]
        assert [side["rewards"] for side in first] == [side["rewards"] for side in second]


def test_each_pair_is_labelled_by_itself(annotated: Any, tmp_path: Path) -> None:
    viewed = Viewed(annotated, "x", "none", None)
    labels = Labels([viewed], LabelSettings(tmp_path / "labels.jsonl", "anna"), lambda: 0.0)
    labels.claim("tab-number-1")
    for place in (Place(1, 1), Place(2, 0)):
        labels.save("tab-number-1", place, [(0, 0, "factual", "major")], "done", order="hand", blind=True, seconds=1.0)
    labels.close()
    entries = read_entries(tmp_path / "labels.jsonl")
    assert [(one.asr_row, one.asr_pair, one.side) for one in entries] == [(0, 1, "rejected"), (0, 2, "chosen")]
    assert [str(one.completion) for one in entries] == ["Gamma three.", "Beta two."]
    shown = [viewed.answer(place.position, place.side) for place in by_chance([viewed])]
    assert sorted(shown) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]  # each answer once, though some are in two pairs


def test_a_row_that_is_not_there(annotated: Any, serve: Any) -> None:
    with pytest.raises(InputError, match="no annotated row 5"):
        serve(annotated).session._place_of(5, None, range(4))
