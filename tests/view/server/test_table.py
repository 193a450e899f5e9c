"""Filters and orders, beside the same worked out in Python over the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asr_data.config import MaskConfig, Token
from asr_data.errors import ConfigError
from asr_data.view.server.directories import Viewed
from asr_data.view.server.table import Filter, RowTable

FAULTS = [[{"start": 0, "end": 2}], [], [{"start": 1, "end": 2}], [], []]


@pytest.fixture
def viewed(annotate: Any, pairs: Any) -> Viewed:
    rows = [{**row, "faults": faults} for row, faults in zip(pairs, FAULTS, strict=True)]
    annotated = annotate(rows, MaskConfig(segmenter=Token(), baseline=0.5), shard_rows=2)
    return Viewed(annotated, "x", "none", "rejected=faults")


@pytest.fixture
def rows(viewed: Viewed) -> list[dict[str, Any]]:
    return [row for batch in viewed.annotated.data_batches() for row in batch.to_pylist()]


def share(row: dict[str, Any], side: str) -> float:
    return sum(row[f"{side}_mask"]) / len(row[f"{side}_mask"])


def gap(row: dict[str, Any]) -> float:
    return float(row["chosen_reward"] - row["rejected_reward"])


CASES: list[tuple[Filter, Callable[[dict[str, Any]], bool]]] = [
    (Filter(text="CAFÉ"), lambda row: row["asr_row"] == 1),
    (Filter(text="user"), lambda row: True),
    (Filter(text="zwölf uhr"), lambda row: row["asr_row"] == 1),
    (Filter(text=".*"), lambda row: False),
    (Filter(note="empty_mask_chosen"), lambda row: "empty_mask_chosen" in row["asr_notes"]),
    (Filter(note="-"), lambda row: not row["asr_notes"]),
    (Filter(side="rejected", kept_to=95), lambda row: share(row, "rejected") <= 0.95),
    (Filter(kept_from=50.0), lambda row: share(row, "chosen") >= 0.5),
    (Filter(gap_from=-0.3, gap_to=0.1), lambda row: -0.3 <= gap(row) <= 0.1),
    (Filter(where="asr_row > 1 AND margin < 0"), lambda row: row["asr_row"] > 1 and gap(row) < 0),
    (Filter(faulty=True), lambda row: row["asr_row"] in (0, 2)),
    (Filter(faulty=True, where="asr_row = 2"), lambda row: row["asr_row"] == 2),
]


@pytest.mark.parametrize(("wanted", "fits"), CASES)
def test_filters(viewed: Viewed, rows: Any, wanted: Filter, fits: Any) -> None:
    found = list(RowTable(viewed=[viewed]).positions(wanted))
    assert found == [place for place, row in enumerate(rows) if fits(row)]


def test_every_row_in_order_costs_nothing(viewed: Viewed) -> None:
    assert RowTable([viewed]).positions(Filter(side="rejected")) == range(4)


@pytest.mark.parametrize("descending", [False, True])
def test_orders(viewed: Viewed, rows: Any, descending: bool) -> None:
    table = RowTable([viewed])

    def sorted_by(key: Any) -> list[int]:
        sign = -1 if descending else 1
        return [place for place, _ in sorted(enumerate(rows), key=lambda one: (sign * key(one[1]), one[0]))]

    for name, key in (
        ("margin", gap),
        ("kept_rejected", lambda row: share(row, "rejected")),
        ("segments_chosen", lambda row: len(row["chosen_seg_start"])),
        ("", lambda row: row["asr_row"]),
    ):
        assert list(table.positions(Filter(sort=name, descending=descending))) == sorted_by(key), name
    assert sorted(table.positions(Filter(sort="random", descending=descending))) == [0, 1, 2, 3]


def test_rows_where_directories_are_furthest_apart(annotate: Any, make_tokenizer: Any, pairs: Any) -> None:
    first = annotate(pairs)
    second = annotate(pairs, MaskConfig(sequence_reward="last"))
    viewed = [Viewed(one, one.path.name, "none", None) for one in (first, second)]
    gaps = [[gap(row) for batch in one.data_batches() for row in batch.to_pylist()] for one in (first, second)]
    apart = [abs(a - b) for a, b in zip(*gaps, strict=True)]
    found = RowTable(viewed).positions(Filter(sort="apart", descending=True))
    assert list(found) == sorted(range(4), key=lambda place: -apart[place])
    assert "apart" not in RowTable(viewed[:1]).orders()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Filter(where="nothing > 1"), "there is no column 'nothing'"),
        (Filter(where="margin >"), "--where 'margin >': "),
        (Filter(where="margin"), "is Float64, not true or false"),
        (Filter(where="margin > (SELECT 1)"), "."),
        (Filter(sort="margin; DROP"), "rows cannot be sorted by 'margin; DROP': margin, "),
        (Filter(side="completion", kept_to=3), "there is no kept_completion"),
    ],
)
def test_what_cannot_be_asked(viewed: Viewed, wanted: Filter, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.") if len(message) > 1 else message):
        RowTable([viewed]).positions(wanted)
