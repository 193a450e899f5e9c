"""Pairs that are missing, twice, or beside a row that is rejected as a whole; numbers by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from asr_data.pairs import PairRule
from asr_data.storage.pair_account import pair_faults
from asr_data.storage.row_keys import keys_of, numbers_of, row_keys, row_numbers
from asr_data.types import Int64

TWICE = "row is both annotated and rejected"
WHOLE = "row is rejected as a whole, and has pairs"


def keys(*numbers: tuple[int, int]) -> Int64:
    rows, pairs = np.array(numbers, dtype=np.int64).reshape(-1, 2).T
    return keys_of(rows, pairs)


def faults(rule: PairRule, data: Int64, rejects: Int64) -> dict[str, list[int]]:
    return {message: rows.tolist() for message, rows in pair_faults(rule, data, rejects) if len(rows)}


@pytest.mark.parametrize(
    ("rule", "of_four"), [("all", [0, 1, 2, 3, 4, 5]), ("adjacent", [0, 2, 5]), ("best-rest", [0, 1, 3])]
)
def test_what_is_whole(rule: PairRule, of_four: list[int]) -> None:
    every = [(3, number) for number in of_four]
    two = [(0, 0)]
    assert faults(rule, keys(*two, *every[:1]), keys((1, -1), *every[1:])) == {}
    assert faults(rule, keys(), keys()) == {}
    lacks = f"row lacks a pair that {rule} makes"
    assert faults(rule, keys(*every[1:]), keys()) == {lacks: [3]}
    assert faults(rule, keys(*two, every[0], every[2]), keys()) == {lacks: [3]}
    assert faults(rule, keys(*every, (3, 99)), keys(*two)) == {lacks: [3]}


def test_all_pairs_of_some_number_of_answers() -> None:
    lacks = "row lacks a pair that all makes"
    assert faults("all", keys((5, 0), (5, 1)), keys((7, 0), (7, 1), (7, 2), (7, 3))) == {lacks: [5, 7]}


def test_a_pair_twice_and_beside_its_whole_row() -> None:
    assert faults("adjacent", keys((2, 0), (4, 0)), keys((2, 0), (2, 2))) == {TWICE: [2]}
    assert faults("adjacent", keys((2, 0), (4, 0)), keys((4, -1))) == {WHOLE: [4]}


def test_keys_of_entries() -> None:
    schema = pa.schema([("x_asr_row", pa.int64()), ("x_asr_pair", pa.int32())])
    [batch] = pa.table({"x_asr_row": [3, 3, 4, 9], "x_asr_pair": [0, 5, None, 0]}, schema=schema).to_batches()
    found = row_keys(batch, "x_")
    assert (np.diff(found) > 0).all()
    assert (
        [numbers_of(key) for key in found.tolist()] == row_numbers(batch, "x_") == [(3, 0), (3, 5), (4, None), (9, 0)]
    )
    [alone] = batch.select(["x_asr_row"]).slice(1, 1).to_pylist()
    assert alone == {"x_asr_row": 3}
    assert [numbers_of(key) for key in row_keys(batch.select(["x_asr_row"]), "x_").tolist()] == [
        (3, None),
        (3, None),
        (4, None),
        (9, None),
    ]
