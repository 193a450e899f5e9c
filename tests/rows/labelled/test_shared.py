"""Every row at hand of the formats with labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from asr_data.errors import RowRejected
from asr_data.response import response_text
from asr_data.rows import detect, first_records, open_source, read_rows
from asr_data.rows.labelled import match, read
from asr_data.types import Completion, RejectedRow, Row

ROOT = Path(__file__).parents[3]
SHARED = ROOT / ".." / "shared" / "data"


def read_all(path: Path, name: str) -> tuple[list[tuple[Completion, ...]], Counter[str]]:
    """All rows of a file whose format is ``name`` and no other: what could be read, and the codes of the rest."""
    if not path.is_file():
        pytest.skip(f"{path.name} is missing; put the shared data into {SHARED}")
    source = open_source(path)
    assert match(source.schema, first_records(source)) == [name]
    rows: list[tuple[Completion, ...]] = []
    codes: Counter[str] = Counter()
    for batch in source.batches(500, 0, None):
        for raw in batch:
            assert not isinstance(raw, RejectedRow)
            try:
                rows.append(read(name, raw[1])[1])
            except RowRejected as rejected:
                codes[rejected.code] += 1
    for completions in rows:
        for completion in completions:
            text, position = response_text(completion.content).encode(), 0
            for label in completion.labels or ():
                assert position <= label.start < label.end <= len(text)
                assert text[label.start : label.end].decode().strip()
                position = label.end
    return rows, codes


def names(rows: list[tuple[Completion, ...]]) -> Counter[str]:
    return Counter(label.name for completions in rows for each in completions for label in each.labels or ())


@pytest.mark.parametrize(
    ("file", "name", "labels"),
    [
        # Counted in the raw file: the ratings of what each step's chosen_completion points at, and the error that
        # ends row 2; a step that a person wrote (row 1) and four that nobody got to are without a rating.
        ("samples_prm800k.jsonl", "prm800k", {"1": 41, "0": 1, "-1": 1}),
        ("samples_math-shepherd.jsonl", "math_shepherd", {"+": 5, "-": 20}),
    ],
)
def test_openr_samples(file: str, name: str, labels: dict[str, int]) -> None:
    rows, codes = read_all(SHARED / "openr" / file, name)
    assert codes == {}
    assert names(rows) == labels


@pytest.mark.parametrize(
    ("file", "name", "rewards"),
    [
        (
            "samples_math-aps.jsonl",
            "math_aps",
            [[0.9375, 0.625, 0.046875, 1.0], [0.046875, 0.0, 0.0], [0.171875, 0.28125, 0.0]],
        ),
        (
            "samples_math-aps-tree.jsonl",
            "math_aps_tree",
            [[0.96875, 0.78125, 0.5625, 1.0], [0.9375, 0.53125, 1.0], [0.1875, 0.03125, 1.0]],
        ),
    ],
)
def test_math_aps_samples(file: str, name: str, rewards: list[list[float]]) -> None:
    rows, codes = read_all(SHARED / "openr" / file, name)
    assert codes == {}
    assert [[label.reward for label in only.labels or ()] for (only,) in rows] == rewards


@pytest.mark.parametrize(
    ("file", "good", "bad", "wrong"), [("train", 3_137, 58, 6_993), ("test", 696, 22, 1_613)]
)  # 57 and 21 rows name a step that is not there; in one row of each file a step is empty
def test_prmbench(file: str, good: int, bad: int, wrong: int) -> None:
    rows, codes = read_all(SHARED / "prmbench" / f"{file}.jsonl.gz", "prmbench_pairs")
    assert len(rows) == good
    assert codes == {"label_mismatch": bad}
    assert names(rows)["wrong"] == wrong
    assert {label.reward for chosen, _ in rows for label in chosen.labels or ()} == {1.0}


def test_finegrained_rlhf() -> None:
    rows, codes = read_all(SHARED / "finegrained-rlhf" / "pairs.jsonl.gz", "finegrained_pairs")
    assert len(rows) == 664
    assert codes == {}
    marked = names(rows)
    del marked["correct"]
    assert marked == {
        "Irrelevant": 1_292,
        "Unverifiable": 206,
        "Wrong-Grounding": 206,
        "Redundant": 189,
        "Incoherent": 19,
    }
    assert sorted(sum(bool(each.labels) for each in completions) for completions in rows) == [1] * 664


def test_our_own_sample() -> None:
    rows, codes = read_all(ROOT / "asr_data" / "sample" / "pairs.jsonl", "fault_pairs")
    assert len(rows) == 120
    assert codes == {}
    assert all(chosen.labels and rejected.labels for chosen, rejected in rows)


@pytest.mark.parametrize(
    ("file", "rows", "spans"),
    [
        # Rows and marked spans, counted in the raw files by a script of its own.
        ("wmt-mqm/news-ende", 119, None),
        ("mr-ben/first-error", 1_223, 1_223),
        ("humanevalpack/bugs", 410, None),
    ],
)
def test_spans_of_both_sides(file: str, rows: int, spans: int | None) -> None:
    path = SHARED / f"{file}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path.name} is missing; put the shared data into {SHARED}")
    source = open_source(path)
    layout = detect(source.schema, first_records(source))
    assert (layout.kind, layout.columns["chosen_labels"], layout.columns["rejected_labels"]) == (
        "preference",
        "chosen_spans",
        "rejected_spans",
    )
    read_in = [row for batch in read_rows(source, layout, 500) for row in batch]
    assert len(read_in) == rows
    faults = 0
    for row in read_in:
        assert isinstance(row, Row), row
        for each, column in zip(row.completions, ("chosen_spans", "rejected_spans"), strict=True):
            text = response_text(each.content).encode()
            faults += len(row.source[column])
            marked = {at for span in row.source[column] for at in range(span["start"], span["end"])}
            labelled = {
                at
                for label in each.labels or ()
                if label.reward == 0.0
                for at in range(len(text[: label.start].decode()), len(text[: label.end].decode()))
            }
            assert labelled == marked
    assert spans is None or faults == spans
