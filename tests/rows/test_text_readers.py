from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_data.errors import InputError
from asr_data.rows import open_source, text_readers
from asr_data.rows.source import open_reader
from asr_data.rows.text_readers import CsvReader, JsonArrayReader, JsonLinesReader, TextReader, json_reader
from asr_data.types import RejectedRow


def all_rows(reader: TextReader) -> list[Any]:
    return list(reader.records(0, reader.rows))


def codes(reader: TextReader) -> list[str | None]:
    return [row.code if isinstance(row, RejectedRow) else None for row in all_rows(reader)]


def test_json_lines_gives_records_count_and_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1, "b": null}\n\n{"a": 2.5, "c": ["x"]}\n')
    reader = JsonLinesReader(path)
    assert reader.rows == 2
    assert reader.schema == pa.schema([("a", pa.float64()), ("b", pa.null()), ("c", pa.list_(pa.string()))])
    assert all_rows(reader) == [(0, {"a": 1, "b": None}), (1, {"a": 2.5, "c": ["x"]})]
    assert list(reader.records(1, 2)) == [(1, {"a": 2.5, "c": ["x"]})]


def test_json_lines_rejects_what_is_no_object_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        b'{"a": 1}',
        b"[1]",
        b"{",
        b'{"a": "\xff"}',
        b'{"b": "\\ud800"}',
        b'{"b": "\\ud83d\\ude00"}',
        b"null",
        b"[" * 100_000,
        b"1" * 5_000,
    ]
    path.write_bytes(b"\n".join(lines))
    reader = JsonLinesReader(path)
    assert codes(reader) == [
        None,
        "not_an_object",
        "invalid_json",
        "invalid_unicode",
        "invalid_unicode",
        None,
        "not_an_object",
        "invalid_json",
        "invalid_json",
    ]
    assert all_rows(reader)[5] == (5, {"b": "😀"})
    rejected = all_rows(reader)[2]
    assert rejected.index == 2
    assert "line 3" in rejected.message


def test_byte_order_mark_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\ufeff{}\r\n{}".encode()))
    assert all_rows(JsonLinesReader(path, "gz")) == [(0, {}), (1, {})]


@pytest.mark.parametrize("content", [b"plain", gzip.compress(b'{"a": 1}\n' * 999)[:-20]], ids=["plain", "cut"])
def test_damaged_gzip_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.jsonl\.gz"):
        JsonLinesReader(path, "gz")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60)
@given(values=st.lists(JSON, max_size=8), chunk=st.integers(1, 40), indent=st.sampled_from([None, 1]))
def test_array_is_decoded_alike_at_every_chunk_size(
    values: list[Any], chunk: int, indent: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("array") / "a.json"
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=False), encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch, path.open(encoding="utf-8", newline="") as stream:
        patch.setattr(text_readers, "_CHUNK_CHARACTERS", chunk)
        assert list(text_readers._array_elements(stream, path)) == [(value, []) for value in values]


def test_array_rejects_elements(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf[{"a": 1}, 2, {"a\xff": 1}, {"a": 3}]\n')
    assert codes(json_reader(path)) == [None, "not_an_object", "invalid_unicode", None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"a": 1}, {"a": }]', "element 1"),
        ('[{"a": 1}', "end of the file"),
        ('[{"a": 1} {"a": 2}]', "expected ','"),
        ('[{"a": 1}] x', "after the end"),
        ("[1,]", "element 1"),
        ("[" * 100_000, "element 0"),
    ],
)
def test_broken_array_is_an_error_that_says_where(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        json_reader(path)


def test_json_file_may_hold_lines_but_not_one_object(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert isinstance(json_reader(path), JsonLinesReader)
    path.write_text("")
    assert isinstance(json_reader(path), JsonArrayReader)
    path.write_text('{\n "data": []\n}')
    with pytest.raises(InputError, match="array of objects"):
        json_reader(path)


def test_csv_values_are_text_and_bad_rows_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,text\r\n007,"two\nlines, ""quoted"""\r\n\r\n8\r\n9,\xff\r\n10,\r\n')
    reader = CsvReader(path)
    assert reader.schema == pa.schema([("id", pa.string()), ("text", pa.string())])
    assert codes(reader) == [None, "not_an_object", "invalid_unicode", None]
    assert all_rows(reader)[0] == (0, {"id": "007", "text": 'two\nlines, "quoted"'})
    assert list(reader.records(3, 4)) == [(3, {"id": "10", "text": ""})]


def test_csv_field_may_be_longer_than_the_modules_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "x" * 200_000 + "\n")
    assert all_rows(CsvReader(path)) == [(0, {"text": "x" * 200_000})]


@pytest.mark.parametrize(
    ("content", "message"), [("a,a\n1,2\n", "twice"), ('a\n"x"y\n', "line 2"), (b"\xff\n1\n", "header")]
)
def test_csv_that_cannot_be_understood(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message):
        CsvReader(path)


@pytest.mark.parametrize("form", ["jsonl", "json"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"x": 1, "x": 2}', "the key 'x' twice"),
        ('{"a": {"b": [{"y": 1, "y": 1}]}}', "the key 'y' twice"),
        ('{"x": 1e400}', "the number 1e400, which is beyond double precision"),
        ('{"x": [-1.5E+0999]}', "beyond double precision"),
        ('{"x": ' + "9" * 400 + ".5}", "beyond double precision"),
    ],
)
def test_what_python_changes_in_silence_rejects_its_row(tmp_path: Path, form: str, value: str, message: str) -> None:
    path = tmp_path / f"a.{form}"
    good = '{"x": 1.5}'
    path.write_text(f"{good}\n{value}\n{good}\n" if form == "jsonl" else f"[{good}, {value}, {good}]")
    first, bad, last = open_reader(path).records(0, 3)
    assert (first, last) == ((0, {"x": 1.5}), (2, {"x": 1.5}))
    assert isinstance(bad, RejectedRow)
    assert (bad.index, bad.code) == (1, "invalid_json")
    assert message in bad.message


@pytest.mark.parametrize(("text", "value"), [("1e308", 1e308), ("1E-400", 0.0), ("NaN", None), ("-0.0", -0.0)])
def test_other_numbers_are_kept(tmp_path: Path, text: str, value: float | None) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"x": {text}}}\n')
    ((_, record),) = open_reader(tmp_path / "a.jsonl").records(0, 1)
    assert record["x"] == value if value is not None else record["x"] != record["x"]


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**30])
def test_an_integer_beyond_64_bits_is_refused_by_row_and_column(tmp_path: Path, number: int) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"x": 1}}\n{{"x": {number}}}\n')
    with pytest.raises(InputError, match=r"a\.jsonl: row 1, column 'x': Arrow cannot hold this value"):
        open_reader(tmp_path / "a.jsonl")


def test_an_integer_that_no_double_holds_is_refused_beside_fractions(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"x": 1.5}}\n{{"x": {2**53 + 1}}}\n')
    with pytest.raises(InputError, match=r"a\.jsonl: row 1, column 'x' does not hold double"):
        open_source(tmp_path / "a.jsonl")
