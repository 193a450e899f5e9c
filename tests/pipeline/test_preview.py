from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from asr_data import load_scorer
from asr_data.config import OutputConfig, Part
from asr_data.pipeline.preview import files_of, look_at, measure, rows_of
from asr_data.rows import Source, detect, first_records, open_source

SCORER = load_scorer(kind="diff")


def opened(tmp_path: Path, lines: str) -> Source:
    (tmp_path / "a.jsonl").write_text(lines)
    return open_source(tmp_path / "a.jsonl")


def test_where_the_response_lies(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> None:
    lines = '{"prompt": "q", "chosen": "", "rejected": "b"}\n{"prompt": "q ", "chosen": "good", "rejected": "bad"}\n'
    source = opened(tmp_path, lines)
    policy = make_tokenizer()
    found = look_at(source, detect(source.schema, first_records(source)), policy)
    assert (found.read, len(found.rows), dict(found.rejects)) == (2, 1, {"empty_response": 1})
    example = found.example
    assert example is not None
    assert (example.row, "".join(example.prompt)) == (1, "q ")
    for side, text in (("chosen", "good"), ("rejected", "bad")):
        one = example.responses[side]  # type: ignore[index] # a side
        everything = [*example.prompt, *one.tokens]
        assert "".join(everything[one.start : one.end]) == text
        assert everything[one.end :] == [policy.hf.eos_token]
    sides = sum(len(one.tokens) for one in example.responses.values())
    assert found.tokens == [len(example.prompt) + sides]


def test_the_time_of_all_rows_follows_from_the_tokens_of_some(
    tmp_path: Path, make_tokenizer: Callable[..., Any]
) -> None:
    source = opened(tmp_path, '{"prompt": "q", "chosen": "a", "rejected": "b"}\n' * 4)
    found = look_at(source, detect(source.schema, first_records(source)), make_tokenizer())
    measured = measure(SCORER, found, 400)
    assert measured is not None
    assert measured.rows == 4
    # Equal rows: a hundred times as many take a hundred times as long.
    assert abs(measured.expected_seconds - 100 * measured.seconds) < 1e-9
    assert measured.memory > 1e7
    found.rows.clear()
    assert measure(SCORER, found, 400) is None


def test_files_and_rows_of_a_part(tmp_path: Path) -> None:
    source = opened(tmp_path, '{"prompt": "q", "chosen": "a", "rejected": "b"}\n' * 5)
    writing = OutputConfig(shard_rows=2)
    assert files_of(source, writing, None, reference=False)[:3] == [
        "data/train-00000.parquet",
        "data/train-00001.parquet",
        "data/train-00002.parquet",
    ]
    last = Part(num_shards=3, shard_index=2)
    assert files_of(source, writing, last, reference=True) == [
        "data/train-00002.parquet",
        "scores/train-00002.parquet",
        "logprobs/train-00002.parquet",
    ]
    assert [rows_of(source, writing, part) for part in (None, last, Part(num_shards=3, shard_index=0))] == [5, 1, 2]


def test_the_first_rows_of_an_input(tmp_path: Path) -> None:
    source = opened(tmp_path, "".join(f'{{"n": {n}}}\n' for n in range(5)))
    few = source.first(2)
    assert (few.rows, few.description) == (2, f"{tmp_path}/a.jsonl (first 2 of 5 rows)")
    assert [row for batch in few.batches(9) for row in batch] == [(0, {"n": 0}), (1, {"n": 1})]
    assert source.first(5) is source
    assert source.first(None) is source
    assert few.fingerprint_now() == few.fingerprint
