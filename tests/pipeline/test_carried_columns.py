"""Columns that play no role come out as they went in, whatever they hold; two shards, one row rejected."""

from __future__ import annotations

import decimal
import struct
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.config import MaskConfig, OutputConfig, Part
from asr_data.pipeline import merge, run
from asr_data.rows import detect, first_records, open_source
from asr_data.storage import validate
from tests.pipeline.conftest import Bench

ROWS = 5
TEXTS = {
    "prompt": [f"question {row}? " for row in range(ROWS)],
    "chosen": [f"It is {row}." for row in range(ROWS)],
    "rejected": ["No.", "No.", "", "No.", "No."],
}
KEPT = [0, 1, 3, 4]


def spread(values: list[Any], kind: pa.DataType) -> pa.Array[Any]:
    """A column of these values, repeated."""
    return pa.array((values * ROWS)[:ROWS], kind)


NAN_BITS = np.array([0x7FF8000000000001, 0xFFF8DEADBEEF0001, 0x3FF0000000000000] * 2, dtype=np.uint64)[:ROWS]
INNER = pa.struct([("at", pa.date32()), ("of", pa.list_(pa.int8()))])
COLUMNS: dict[str, pa.Array[Any]] = {
    "far_date": spread([1, 3_000_000, None], pa.date32()),  # the year 10183
    "far_time": spread([253_402_300_800_000_000, -(2**62), None], pa.timestamp("us")),
    "nanoseconds": spread([1_700_000_000_123_456_789, 1], pa.timestamp("ns")),
    "time_of_day": spread([1, 86_399_999_999_999, None], pa.time64("ns")),
    "duration": spread([1, -1, None], pa.duration("ns")),
    "unknown_zone": spread([1, 2], pa.timestamp("us", tz="Mars/Phobos")),
    "decimal": spread([decimal.Decimal("1" * 60 + ".5"), None], pa.decimal256(70, 3)),
    "large": spread([2**64 - 1, 0, None], pa.uint64()),
    "half": spread([1.5, None], pa.float16()),
    "nan": pa.array(NAN_BITS.view(np.float64)),
    "fixed": spread([b"\x00\xff", None], pa.binary(2)),
    "vector": spread([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
    "json": spread(['{"a": 1}', "null", None], pa.json_()),
    "nested": spread([[{"at": 3_000_000, "of": [1]}], [], None], pa.list_(INNER)),
    "nothing": pa.nulls(ROWS),
}


def bits(column: Any) -> list[str]:
    """The bytes of floats, which tell one NaN from another."""
    return [struct.pack("<d", value).hex() for value in column.combine_chunks().to_numpy()]


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_values_that_python_does_not_hold_are_carried_unchanged(bench: Bench, form: str) -> None:
    table = pa.table({**TEXTS, **COLUMNS})
    path = bench.folder / f"in.{form}"
    if form == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    assert bench.run(path, shard_rows=3).rejects == {"empty_response": 1}
    assert validate(bench.folder / "out") == []
    out, wanted = bench.table("out"), table.take(KEPT)
    for name in table.column_names:
        if name == "nan":
            assert bits(out[name]) == bits(wanted[name])
        else:
            assert out[name].type == wanted[name].type, name
            assert out[name].combine_chunks().equals(wanted[name].combine_chunks()), name
    loaded = datasets.load_dataset(str(bench.folder / "out"), split="train", cache_dir=str(bench.folder / "cache"))
    assert loaded.num_rows == len(KEPT)
    assert loaded.with_format("arrow")[:]["far_date"].equals(wanted["far_date"])


def test_they_are_so_through_score_and_mask_and_through_parts(bench: Bench) -> None:
    table = pa.table({**TEXTS, "far": COLUMNS["far_time"], "zone": COLUMNS["unknown_zone"]})
    path = bench.folder / "in.parquet"
    pq.write_table(table, path)
    bench.run(path, "whole", shard_rows=2)
    bench.score(path, shard_rows=2)
    bench.mask("scored", "masked", MaskConfig())
    for index in (0, 1):
        bench.run(path, f"part{index}", shard_rows=2, part=Part(shard_index=index, num_shards=2))
    merge([bench.folder / "part0", bench.folder / "part1"], bench.folder / "merged")
    assert bench.files("masked") == bench.files("merged") == bench.files("whole")


def features() -> datasets.Features:
    """Of columns whose Arrow type does not say what they are."""
    text = datasets.Value("string")
    return datasets.Features(
        {
            **dict.fromkeys(TEXTS, text),
            "topic": datasets.ClassLabel(names=["maths", "sums"]),
            "picture": datasets.Image(),
            "sound": datasets.Audio(decode=False),
            "topics": datasets.List(datasets.ClassLabel(names=["x", "y"])),
            "both": datasets.Translation(languages=["de", "en"]),
            "turns": datasets.List({"role": text, "n": datasets.Value("int8")}),
            "any": datasets.Json(),
        }
    )


def featured() -> datasets.Dataset:
    """Rows with such columns."""
    columns = {
        "topic": [0, 1, 1, 0, None],
        "picture": [{"bytes": b"png", "path": None}] * ROWS,
        "sound": [{"bytes": b"wav", "path": "a.wav"}] * ROWS,
        "topics": [[0, 1], [], [1], [0], None],
        "both": [{"de": "ja", "en": "yes"}] * ROWS,
        "turns": [[{"role": "user", "n": 1}]] * ROWS,
        "any": ['{"a": 1}', "[1]", '"t"', None, "2"],
    }
    # Not encoded by the features: that needs packages for images and audio.
    return datasets.Dataset(pa.table({**TEXTS, **columns}, schema=features().arrow_schema))


@pytest.mark.parametrize("form", ["memory", "parquet", "arrow"])
def test_features_of_datasets_survive(bench: Bench, form: str, tmp_path: Path) -> None:
    given: Any = featured()
    path = tmp_path / f"in.{form}"
    if form == "parquet":  # ``to_parquet`` and ``save_to_disk`` of datasets 5.2 fail on Translation
        pq.write_table(given.data.table, path)
    elif form == "arrow":
        with pa.ipc.new_stream(str(path), given.features.arrow_schema) as writer:
            writer.write_table(given.data.table)
    place = given if form == "memory" else path
    source = open_source(place)
    run(
        source,
        detect(source.schema, first_records(source)),
        bench.folder / "out",
        bench.scorer,
        bench.tokenizer,
        writing=OutputConfig(shard_rows=3),
    )
    assert validate(bench.folder / "out") == []
    bench.mask("out", "again", MaskConfig())
    assert bench.files("again") == bench.files("out")
    for place in (bench.folder / "out", bench.folder / "out" / "data"):  # with the card, and without
        loaded = datasets.load_dataset(str(place), split="train", cache_dir=str(bench.folder / "cache"))
        assert {name: loaded.features[name] for name in features()} == features()
        assert loaded["topic"][:] == [0, 1, 0, None]
    assert loaded.with_format("arrow")[:]["both"].equals(given.select(KEPT).with_format("arrow")[:]["both"])
