from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from asr_data.config import MaskConfig, SegmentWeights
from asr_data.errors import ConfigError, CorruptFileError, OutputExistsError, StorageError
from asr_data.storage import open_output, validate
from asr_data.tables import filter_rows

ROWS = [
    {"prompt": f"q {n}", "chosen": f"Yes, {n * 7}. It is.", "rejected": f"No {n}. Never so.", "topic": "abc"[n % 3]}
    for n in range(25)
]
ROWS[4] = {**ROWS[4], "rejected": ""}
"""Rejected: a response is empty."""


@pytest.fixture
def parent(bench: Any) -> Path:
    bench.run(ROWS, shard_rows=10)
    path: Path = bench.folder / "out"
    return path


def kept(folder: Path, config: str = "data") -> list[dict[str, Any]]:
    return [row for path in sorted((folder / config).iterdir()) for row in pq.read_table(path).to_pylist()]


def codes(folder: Path) -> dict[int, tuple[str, str]]:
    return {row["asr_row"]: (row["code"], row["message"]) for row in kept(folder, "rejects")}


def test_rows_that_meet_the_condition_are_kept_as_they_are(parent: Path, tmp_path: Path) -> None:
    out = tmp_path / "b"
    summary = filter_rows(parent, out, where="topic = 'b' AND margin > -99")
    rows = [row for row in kept(parent) if row["topic"] == "b"]
    run = open_output(out).manifest.run_id
    assert run != open_output(parent).manifest.run_id
    assert kept(out) == [{**row, "asr_run": run} for row in rows]
    indices = [row["asr_row"] for row in rows]
    assert kept(out, "scores") == [row for row in kept(parent, "scores") if row["asr_row"] in indices]
    left = {
        n: ("left_out", "does not meet --where topic = 'b' AND margin > -99") for n in range(25) if n not in indices
    }
    assert codes(out) == left | {4: codes(parent)[4]}
    assert list(codes(out)) == sorted(codes(out))
    assert (summary.annotated, summary.rejected) == (len(indices), 25 - len(indices))
    assert validate(out) == []


def test_totals_are_those_of_the_rows_that_are_kept(parent: Path, tmp_path: Path) -> None:
    summary = filter_rows(parent, tmp_path / "b", where="topic = 'b'")
    rows = [row for row in kept(parent) if row["topic"] == "b"]
    for side, found in summary.sides.items():
        assert found.responses == len(rows)
        assert found.tokens == sum(len(row[f"{side}_ids"]) for row in rows)
        assert found.kept_tokens == sum(sum(row[f"{side}_mask"]) for row in rows)
        assert found.segments == sum(len(row[f"{side}_seg_start"]) for row in rows)
        assert found.kept_segments == sum(sum(row[f"{side}_seg_keep"]) for row in rows)
        assert found.mean_reward == pytest.approx(sum(row[f"{side}_reward"] for row in rows) / len(rows))
        assert found.by_position is None
    sigma = open_output(parent).manifest.statistics["sigma"]
    assert open_output(tmp_path / "b").manifest.statistics["sigma"] == sigma
    notes = open_output(tmp_path / "b").manifest.counts.notes
    assert sum(notes.values()) == sum(len(row["asr_notes"]) for row in rows)


def test_weights_are_summed_over_the_rows_that_are_kept(bench: Any, tmp_path: Path) -> None:
    bench.run(ROWS, shard_rows=10, mask=MaskConfig(weights=SegmentWeights()))
    summary = filter_rows(bench.folder / "out", tmp_path / "b", where="topic = 'b'")
    rows = kept(tmp_path / "b")
    assert {row["topic"] for row in rows} == {"b"}
    for side, found in summary.sides.items():
        assert found.weight_sum == pytest.approx(sum(sum(row[f"{side}_weight"]) for row in rows))
    assert validate(tmp_path / "b") == []


def test_a_sample_is_drawn_among_rows_that_meet_the_condition(parent: Path, tmp_path: Path) -> None:
    filter_rows(parent, tmp_path / "s", where="topic <> 'a'", sample=5, seed=3)
    met = [row["asr_row"] for row in kept(parent) if row["topic"] != "a"]
    drawn = sorted(met[at] for at in random.Random(3).sample(range(len(met)), 5))
    assert [row["asr_row"] for row in kept(tmp_path / "s")] == drawn
    reasons = {row: message for row, (code, message) in codes(tmp_path / "s").items() if code == "left_out"}
    assert {row for row, message in reasons.items() if message == "not drawn by --sample 5 --seed 3"} == {*met} - {
        *drawn
    }
    assert validate(tmp_path / "s") == []
    filter_rows(parent, tmp_path / "all", sample=1_000)
    assert len(kept(tmp_path / "all")) == 24


def test_the_manifest_names_its_parents(parent: Path, tmp_path: Path) -> None:
    filter_rows(parent, tmp_path / "one", where="topic <> 'a'")
    filter_rows(tmp_path / "one", tmp_path / "two", sample=3, seed=1)
    plan = json.loads((tmp_path / "two" / "asr.json").read_text(encoding="utf-8"))["plan"]
    assert plan["parent"]["run_id"] == open_output(tmp_path / "one").manifest.run_id
    assert (plan["parent"]["where"], plan["parent"]["sample"], plan["parent"]["seed"]) == (None, 3, 1)
    assert plan["parent"]["parent"]["where"] == "topic <> 'a'"
    assert plan["parent"]["parent"]["run_id"] == open_output(parent).manifest.run_id
    assert validate(tmp_path / "two") == []
    card = (tmp_path / "two" / "README.md").read_text(encoding="utf-8")
    assert "| selected | \\-\\-sample 3 \\-\\-seed 1 |" in card


def test_masks_can_be_made_anew(parent: Path, tmp_path: Path, bench: Any) -> None:
    filter_rows(parent, bench.folder / "one", where="topic <> 'a'")
    bench.mask("one", "anew", MaskConfig(segmenter="token"))
    assert [row["asr_row"] for row in kept(bench.folder / "anew")] == [
        row["asr_row"] for row in kept(bench.folder / "one")
    ]
    assert codes(bench.folder / "anew") == codes(bench.folder / "one")
    assert validate(bench.folder / "anew") == []


def test_scores_without_masks_are_filtered_too(bench: Any, tmp_path: Path) -> None:
    bench.score(ROWS, shard_rows=10)
    filter_rows(bench.folder / "scored", tmp_path / "b", where="topic = 'b'")
    assert {row["topic"] for row in kept(tmp_path / "b")} == {"b"}
    assert validate(tmp_path / "b") == []
    with pytest.raises(ConfigError, match="no column 'margin'"):
        filter_rows(bench.folder / "scored", tmp_path / "c", where="margin > 0")


def test_it_resumes_byte_for_byte_and_refuses_another_selection(parent: Path, tmp_path: Path, bench: Any) -> None:
    from asr_data.storage.commit import observe

    class Killed(BaseException):
        pass

    def kill(point: str, path: Path) -> None:
        if point == "recorded" and path.name == "filter-00001.json":
            raise Killed

    filter_rows(parent, bench.folder / "whole", where="topic <> 'a'")
    with pytest.raises(Killed), observe(kill):
        filter_rows(parent, bench.folder / "killed", where="topic <> 'a'")
    with pytest.raises(OutputExistsError, match=r"parent\.where: was \"topic <> 'a'\", now \"topic <> 'b'\""):
        filter_rows(parent, bench.folder / "killed", where="topic <> 'b'")
    filter_rows(parent, bench.folder / "killed", where="topic <> 'a'", resume=True)
    assert bench.files("killed") == bench.files("whole")
    filter_rows(parent, bench.folder / "killed", where="topic <> 'b'", overwrite=True)
    assert {row["topic"] for row in kept(bench.folder / "killed")} == {"a", "c"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give --where, --sample, or both"),
        ({"where": "margin > 1e9"}, "none of the 24 annotated rows of .* meets it"),
        ({"where": "margin >"}, "is no condition in SQL"),
        ({"where": "nope = 1"}, "no column 'nope'"),
        ({"where": "CAST(topic AS int) > 1"}, "failed in column .topic. for [0-9]+ values$"),
        ({"sample": 2, "seed": -1}, "a seed is at least 0"),
        ({"sample": 0}, "at least 1 row"),
    ],
)
def test_nothing_is_written_for_a_selection_that_is_none(
    parent: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        filter_rows(parent, tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_places_and_damaged_parents_are_refused(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is the input"):
        filter_rows(parent, parent, sample=1)
    file = sorted((parent / "data").iterdir())[1]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptFileError, match="the file changed"):
        filter_rows(parent, tmp_path / "x", sample=1)
