"""The input is opened, and then changes: the run ends with an error, and nothing counts as done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.config import MaskConfig, OutputConfig, Part
from asr_data.errors import CorruptFileError, InputError
from asr_data.pipeline import merge, run
from asr_data.rows import detect, first_records, open_source
from asr_data.storage import load_manifest, open_output


def shrink(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:3]), encoding="utf-8")


def grow(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(path.read_text(encoding="utf-8").splitlines(keepends=True)[0])


def edit_in_place(path: Path) -> None:
    """The same size, and the same time of modification."""
    before = path.stat()
    content = path.read_bytes()
    assert b"Short." in content
    path.write_bytes(content.replace(b"Short.", b"Shore."))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def replace_by_rename(path: Path) -> None:
    other = path.with_suffix(".part")
    other.write_text("".join(reversed(path.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")
    other.replace(path)


def delete(path: Path) -> None:
    path.unlink()


CHANGES = [shrink, grow, edit_in_place, replace_by_rename, delete]


def changing(bench: Any, change: Callable[[Path], None], path: Path, at_row: int) -> None:
    """Makes the scorer change the file when it comes to a row."""
    score = type(bench.scorer).score

    def scoring(rows: Any, on_tokens: Any = None) -> Any:
        if any(row.index == at_row for row in rows):
            change(path)
        return score(bench.scorer, rows, on_tokens)

    bench.scorer.score = scoring


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("at_row", [0, 8])
def test_while_rows_are_scored(bench: Any, pairs: Any, change: Any, at_row: int) -> None:
    path = bench.write(pairs)
    content = path.read_bytes()
    bench.run(path, "whole", 2)
    changing(bench, change, path, at_row)
    with pytest.raises(InputError, match="the input changed while it was being read"):
        bench.run(path, "out", 2)
    assert not (bench.folder / "out" / "asr.json").exists()
    # The same command on the input that was opened then gives what an undisturbed one gives.
    path.write_bytes(content)
    del bench.scorer.score
    bench.run(path, "out", 2)
    assert bench.files("out") == bench.files("whole")


@pytest.mark.parametrize("change", CHANGES)
def test_between_opening_and_reading(bench: Any, pairs: Any, change: Any) -> None:
    path = bench.write(pairs)
    source, layout = bench.open(path)
    change(path)
    with pytest.raises(InputError, match=r"the input changed while it was being read|cannot be read: .*No such file"):
        run(source, layout, bench.folder / "out", bench.scorer, bench.tokenizer)
    assert not (bench.folder / "out" / "asr.json").exists()


def test_missing_rows_are_counted_in_every_shard(bench: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bench.write(pairs)
    monkeypatch.setattr("asr_data.rows.input_guard.InputGuard.check", lambda guard: None)
    source, layout = bench.open(path)
    shrink(path)
    writing = OutputConfig(shard_rows=2)
    with pytest.raises(InputError, match="the input changed while it was being read: 3 rows are left of 9"):
        run(source, layout, bench.folder / "out", bench.scorer, bench.tokenizer, writing=writing)


def test_parquet(bench: Any, pairs: Any) -> None:
    path = bench.folder / "in.parquet"
    pq.write_table(pa.Table.from_pylist(pairs), path)
    shorter = bench.folder / "shorter.parquet"
    pq.write_table(pa.Table.from_pylist(pairs[:4]), shorter)
    changing(bench, lambda path: shutil.copy(shorter, path), path, 0)
    with pytest.raises(InputError, match="the input changed"):
        bench.run(path, "out", 2)
    assert not (bench.folder / "out" / "asr.json").exists()


def test_a_saved_dataset_that_is_edited_in_place(bench: Any, pairs: Any) -> None:
    datasets = pytest.importorskip("datasets")
    folder = bench.folder / "saved"
    datasets.Dataset.from_list(pairs).save_to_disk(str(folder))
    source = open_source(folder)
    layout = detect(source.schema, first_records(source))
    [file] = folder.glob("*.arrow")
    with file.open("r+b") as stream:  # the memory map sees it
        content = stream.read()
        stream.seek(content.index(b"Last of all"))
        stream.write(b"Lost")
    with pytest.raises(InputError, match="another SHA-256 than when it was opened"):
        run(source, layout, bench.folder / "out", bench.scorer, bench.tokenizer)


def test_a_file_that_is_only_touched_has_not_changed(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    bench.run(path, "whole", 2)
    changing(bench, lambda path: path.touch(), path, 2)
    bench.run(path, "out", 2)
    assert bench.files("out") == bench.files("whole")


def test_a_part_whose_input_changed_is_not_finished(bench: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bench.write(pairs)
    parts = [Part(num_shards=2, shard_index=index) for index in range(2)]
    bench.run(path, "part0", 2, part=parts[0])
    # As on a file system that records no times: the content alone says so.
    monkeypatch.setattr("asr_data.rows.input_guard.InputGuard.check", lambda guard: None)
    changing(bench, edit_in_place, path, 5)
    with pytest.raises(InputError, match="the input changed"):
        bench.run(path, "part1", 2, part=parts[1])
    with pytest.raises(Exception, match="part 1 is not finished, 6 of 6 steps are missing"):
        merge([bench.folder / "part0", bench.folder / "part1"], bench.folder / "joined")


def rewrite(path: Path) -> None:
    """Another output's file in its place."""
    table = pq.read_table(path)
    pq.write_table(table.slice(0, table.num_rows - 1), path)


@pytest.mark.parametrize("config", ["data", "scores"])
def test_scores_that_change_while_they_are_masked(
    bench: Any, pairs: Any, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.score(pairs, shard_rows=3)
    path = bench.folder / "scored" / config / "train-00000.parquet"
    content = path.read_bytes()
    bench.mask("scored", "whole", MaskConfig())
    measure = "asr_data.pipeline.finish.MaskStage.measure"
    real = __import__("asr_data.pipeline.finish", fromlist=["MaskStage"]).MaskStage.measure

    def measured(*arguments: Any) -> None:
        real(*arguments)
        path.write_bytes(content + b"x")

    monkeypatch.setattr(measure, measured)
    with pytest.raises(CorruptFileError, match="train-00000"):
        bench.mask("scored", "out", MaskConfig())
    assert not (bench.folder / "out" / "asr.json").exists()
    monkeypatch.setattr(measure, real)
    path.write_bytes(content)
    bench.mask("scored", "out", MaskConfig())
    assert bench.files("out") == bench.files("whole")


def test_a_directory_that_changes_while_it_is_read(bench: Any, pairs: Any) -> None:
    bench.run(pairs, shard_rows=3)
    annotated = open_output(bench.folder / "out")
    assert sum(batch.num_rows for batch in annotated.data_batches()) == 7
    annotated.check_unchanged()
    path = bench.folder / "out/data/train-00001.parquet"
    path.touch()
    annotated.check_unchanged()
    path.write_bytes(path.read_bytes()[:-1] + b"2")
    with pytest.raises(CorruptFileError, match="train-00001"):
        annotated.check_unchanged()
    with pytest.raises(CorruptFileError, match="train-00001"):
        list(annotated.data_batches())


def test_a_directory_that_is_overwritten_while_it_is_read(bench: Any, pairs: Any) -> None:
    bench.run(pairs)
    annotated = open_output(bench.folder / "out")
    list(annotated.score_batches())
    bench.run(pairs, overwrite=True, mask=MaskConfig(on_empty="keep-best"))
    with pytest.raises(CorruptFileError, match="was replaced by another output while it was being read"):
        annotated.check_unchanged()


def test_a_file_that_grows_while_it_is_opened(bench: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bench.write(pairs)
    real = __import__("asr_data.rows.source", fromlist=["source"])._fingerprint

    def hashing(*arguments: Any) -> str:
        grow(path)
        return str(real(*arguments))

    monkeypatch.setattr("asr_data.rows.source._fingerprint", hashing)
    with pytest.raises(InputError, match="the input changed while it was being opened"):
        open_source(path)


def test_the_fingerprint_of_a_finished_run_is_that_of_its_rows(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    bench.run(path)
    recorded = load_manifest(bench.folder / "out").input
    assert (recorded.rows, recorded.fingerprint) == (9, open_source(path).fingerprint)
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["id"] == 0
