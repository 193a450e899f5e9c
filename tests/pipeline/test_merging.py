"""Parts made apart and joined are, byte for byte, what one run makes; what does not belong together is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asr_data.config import MaskConfig, Part
from asr_data.errors import CorruptFileError, OutputExistsError, StorageError
from asr_data.pipeline import merge
from asr_data.storage import validate
from asr_data.storage.commit import observe
from asr_data.storage.seal import sealed_json, unsealed
from tests.pipeline.killing import Killed, killed_at

SETTINGS = {
    "running": MaskConfig.model_validate({"baseline": {"kind": "running", "decay": 0.5}, "on_empty": "drop"}),
    "dataset": MaskConfig.model_validate({"baseline": {"kind": "dataset"}, "segmenter": {"kind": "pivot"}}),
}


def run_parts(bench: Any, rows: Any, count: int, **options: Any) -> list[Path]:
    """Parts 0 to ``count - 1`` of a run, two rows a shard."""
    path = rows if isinstance(rows, Path) else bench.write(rows)
    for index in range(count):
        bench.run(path, f"part{index}", 2, part=Part(num_shards=count, shard_index=index), **options)
    return [bench.folder / f"part{index}" for index in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("name", SETTINGS)
def test_joined_parts_of_a_run_equal_one_run(bench: Any, pairs: Any, name: str, count: int) -> None:
    path = bench.write(pairs)
    whole = bench.run(path, "whole", 2, mask=SETTINGS[name])
    parts = run_parts(bench, path, count, mask=SETTINGS[name])
    before = [bench.files(part.name) for part in parts]
    joined = merge(parts[::-1], bench.folder / "joined")
    assert bench.files("joined") == bench.files("whole")
    assert (joined.annotated, joined.rejects, joined.sides) == (whole.annotated, whole.rejects, whole.sides)
    assert [bench.files(part.name) for part in parts] == before
    assert validate(bench.folder / "joined") == []


def test_joined_parts_of_score_equal_one_score(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    bench.score(path, "whole", 2)
    parts = [Part(num_shards=2, shard_index=index) for index in range(2)]
    for part in parts:
        bench.score(path, f"part{part.shard_index}", 2, part=part)
    merge([bench.folder / "part0", bench.folder / "part1"], bench.folder / "joined")
    assert bench.files("joined") == bench.files("whole")


def test_a_part_scores_its_share_alone_and_says_what_came_of_it(bench: Any, pairs: Any) -> None:
    # Five shards of two rows, of which part 1 of 3 has the second and the third: rows 2 to 5, of which 3 is rejected.
    summary = bench.run(pairs, "part", 2, part=Part(num_shards=3, shard_index=1))
    assert bench.scorer.scored == [2, 4, 5]
    assert (summary.rows, summary.annotated, summary.rejects) == (4, 3, {"identical_sides": 1})
    assert not (bench.folder / "part" / "asr.json").exists()
    # Every share once, and nothing twice.
    shares = [Part(num_shards=3, shard_index=index).files(5) for index in range(3)]
    assert [index for share in shares for index in share] == [0, 1, 2, 3, 4]
    assert [len(share) for share in shares] == [1, 2, 2]


def test_a_killed_part_goes_on_and_a_killed_merge_too(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    bench.run(path, "whole", 2, mask=SETTINGS["running"])
    for count in (5, 30, 30):
        with pytest.raises(Killed), observe(killed_at(count)):
            bench.run(path, "part1", 2, part=Part(num_shards=2, shard_index=1), mask=SETTINGS["running"])
    parts = run_parts(bench, path, 2, mask=SETTINGS["running"])
    points: list[str] = []
    with observe(lambda point, _: points.append(point)):
        merge(parts, bench.folder / "joined")
    for count in range(0, len(points), 7):
        joined = bench.folder / f"joined{count}"
        with pytest.raises(Killed), observe(killed_at(count)):
            merge(parts, joined)
        merge(parts, joined)
        assert bench.files(joined.name) == bench.files("whole"), f"killed at commit point {count}"
    merge(parts, bench.folder / "joined")  # complete already
    assert bench.files("joined") == bench.files("whole")


def test_missing_double_and_unfinished_parts_are_named(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    parts = run_parts(bench, path, 3)
    out = bench.folder / "joined"
    with pytest.raises(StorageError, match="of 3 parts, these are missing: 0, 2"):
        merge(parts[1:2], out)
    with pytest.raises(StorageError, match=r"part 1 is given twice: .*part1 and .*part1"):
        merge([*parts, parts[1]], out)
    with pytest.raises(StorageError, match=r"part2 is the input; name another directory"):
        merge(parts, parts[2], overwrite=True)
    with pytest.raises(Killed), observe(killed_at(40)):
        bench.run(path, "half", 2, part=Part(num_shards=3, shard_index=2))
    with pytest.raises(StorageError, match=r"half: part 2 is not finished, 3 of 4 steps"):
        merge([*parts[:2], bench.folder / "half"], out)
    bench.run(path, "finished", 2)
    with pytest.raises(StorageError, match=r"finished: not a part .*it holds a finished output"):
        merge([*parts[:2], bench.folder / "finished"], out)
    with pytest.raises(StorageError, match="nowhere: not a part"):
        merge([*parts[:2], bench.folder / "nowhere"], out)
    assert not out.exists()


def test_parts_of_another_run_are_refused_saying_what_differs(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    parts = run_parts(bench, path, 2)

    def other(pattern: str, part: Part, rows: Any = path, **options: Any) -> None:
        bench.run(rows, "other", 2, part=part, overwrite=True, **options)
        with pytest.raises(StorageError, match=rf"(?s)other: belongs to another run than .*part0.*{pattern}"):
            merge([parts[0], bench.folder / "other"], bench.folder / "joined")

    second = Part(num_shards=2, shard_index=1)
    other(r"num_shards: was 2, now 3", Part(num_shards=3, shard_index=2))
    other(r'mask\.on_empty: was "keep-all", now "drop"', second, mask=MaskConfig(on_empty="drop"))
    other(r"input\.fingerprint", second, bench.write(pairs[::-1], "other.jsonl"))
    assert not (bench.folder / "joined").exists()


def test_a_part_that_was_damaged_is_named_and_made_again(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    bench.run(path, "whole", 2)
    parts = run_parts(bench, path, 2)
    [file] = parts[1].rglob("aligned/00003.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=r"part1: shard 3 of stage 'align' was changed since it was written"):
        merge(parts, bench.folder / "joined")
    bench.scorer.scored.clear()
    run_parts(bench, path, 2)
    assert bench.scorer.scored == []
    merge(parts, bench.folder / "joined")
    assert bench.files("joined") == bench.files("whole")


@pytest.mark.parametrize("key", ["output", "layout", "mask", "versions", "input"])
def test_a_plan_that_is_not_one_is_named(bench: Any, pairs: Any, key: str) -> None:
    parts = run_parts(bench, pairs, 2)
    path = parts[1] / ".asr-work" / "plan.json"
    path.write_bytes(sealed_json({**unsealed(path, path.read_bytes()), key: 7}))
    with pytest.raises(CorruptFileError, match=r"part1.*plan\.json: is not what was written"):
        merge(parts, bench.folder / "joined")
    path.write_bytes(path.read_bytes().replace(b"7", b"8", 1))
    with pytest.raises(CorruptFileError, match=r"plan\.json: the file changed"):
        merge(parts, bench.folder / "joined")


def test_other_versions_than_those_of_the_parts_are_refused(
    bench: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = run_parts(bench, pairs, 2)
    monkeypatch.setattr("asr_data.pipeline.merging.versions", lambda: {"numpy": "0.1"})
    with pytest.raises(StorageError, match=r'(?s)other versions.*numpy: was "2.*", now "0\.1"'):
        merge(parts, bench.folder / "joined")


def test_a_part_and_a_whole_run_do_not_go_on_with_each_other(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    part = Part(num_shards=2, shard_index=0)
    bench.run(path, "part", 2, part=part)
    with pytest.raises(OutputExistsError, match="shard_index: was 0, now nothing"):
        bench.run(path, "part", 2)
    bench.run(path, "whole", 2)
    with pytest.raises(OutputExistsError, match="shard_index: was nothing, now 0"):
        bench.run(path, "whole", 2, part=part)
