"""Bytes that are no UTF-8, in a file's name and in a scorer's message: no JSON file and no Arrow column holds them."""

from __future__ import annotations

import os
from typing import Any

from asr_data.storage import load_manifest, validate
from asr_data.storage.commit import observe
from asr_data.types import RejectedRow
from tests.pipeline.killing import Killed


def test_a_file_name(bench: Any, pairs: Any) -> None:
    path = bench.folder / os.fsdecode(b"\xff.jsonl")
    bench.write(pairs).rename(path)
    bench.run(path)
    assert load_manifest(bench.folder / "out").input.description.endswith(r"\udcff.jsonl")
    assert validate(bench.folder / "out") == []


def test_a_message_does_not_make_its_shard_be_done_again(bench: Any, pairs: Any) -> None:
    def kill(point: str, path: Any) -> None:
        if point == "described":
            raise Killed

    bench.scorer.answers[2] = lambda row: RejectedRow(row.index, "scorer_error", "not \ud800")
    path = bench.write(pairs)
    try:
        with observe(kill):
            bench.run(path)
    except Killed:
        bench.scorer.scored.clear()
    bench.run(path, resume=True)
    assert bench.scorer.scored == []
    assert bench.table("out", "rejects").to_pylist()[0]["message"] == r"not \ud800"
