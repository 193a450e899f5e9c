"""Messages as JSON text, as CSV files have them, and content in parts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from asr_data.errors import InputError, RowRejected
from asr_data.rows import detect, first_records, open_source, read_rows
from asr_data.rows.json_messages import notation
from asr_data.rows.messages import parse_messages
from asr_data.types import RejectedRow, Row


def turns(question: str, answer: str) -> list[dict[str, str]]:
    """A conversation."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    """A CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path) -> list[Row | RejectedRow]:
    """All rows, as they are normalised."""
    source = open_source(path)
    return next(read_rows(source, detect(source.schema, first_records(source)), 1_000))


def test_json_text_of_messages_is_read_as_messages(tmp_path: Path) -> None:
    row = {"prompt": "why?", "chosen": json.dumps(turns("why?", "a")), "rejected": json.dumps(turns("why?", "b"))}
    (found,) = read(write(tmp_path / "a.csv", [row]))
    assert isinstance(found, Row)
    assert found.prompt == [{"role": "user", "content": "why?"}]
    assert [one.content for one in found.completions] == [[turns("why?", "a")[1]], [turns("why?", "b")[1]]]
    assert found.source["chosen"] == row["chosen"]  # carried as it was


def test_a_conversation_as_json_text_is_prompt_and_completion(tmp_path: Path) -> None:
    (found,) = read(write(tmp_path / "a.csv", [{"messages": json.dumps(turns("why?", "a"))}]))
    assert isinstance(found, Row)
    assert (found.prompt, found.completions[0].content) == ([turns("why?", "a")[0]], [turns("why?", "a")[1]])


def test_messages_as_python_prints_them_are_refused(tmp_path: Path) -> None:
    row = {"prompt": "why?", "chosen": repr(turns("why?", "a")), "rejected": repr(turns("why?", "b"))}
    with pytest.raises(InputError, match="column 'chosen' holds messages as Python prints them"):
        read(write(tmp_path / "a.csv", [row]))


def test_a_column_of_texts_and_of_messages_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "plain"}, {"prompt": "p", "completion": json.dumps(turns("p", "a"))}]
    with pytest.raises(InputError, match="as JSON in 1 of the first 2 rows, and other texts in the rest"):
        read(write(tmp_path / "a.csv", rows))


def test_messages_after_the_first_hundred_texts_reject_their_row(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "plain"}] * 100 + [{"prompt": "p", "completion": json.dumps(turns("p", "a"))}]
    *plain, last = read(write(tmp_path / "a.csv", rows))
    assert all(isinstance(row, Row) for row in plain)
    assert isinstance(last, RejectedRow)
    assert last.code == "wrong_type"


def test_a_row_that_is_no_json_among_messages_is_rejected(tmp_path: Path) -> None:
    rows = [{"messages": json.dumps(turns("p", "a"))}] * 100 + [{"messages": "[{"}, {"messages": ""}]
    *_, broken, empty = read(write(tmp_path / "a.csv", rows))
    assert isinstance(broken, RejectedRow)
    assert broken.code == "invalid_json"
    assert isinstance(empty, RejectedRow)
    assert empty.code == "missing_column"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('[{"role": "user", "content": "a"}]', "json"),
        (' [ {"from": "human", "value": "a"}]', "json"),
        ("[{'role': 'user', 'content': None}]", "python"),
        ('{"from": "EUR", "value": 3}', "text"),
        ('[{"a": 1}]', "text"),
        ("[1, 2]", "text"),
        ("[{ not json", "text"),
        ("[{" * 50_000, "text"),
        ("[{'role': __import__('os')}]", "text"),
        ("plain", "text"),
    ],
)
def test_only_a_list_of_messages_is_messages(text: str, kind: str) -> None:
    assert notation(text) == kind


def content(value: Any) -> Any:
    """The content of one parsed message."""
    return parse_messages([{"role": "user", "content": value}], "chosen")[0]["content"]


def test_parts_of_text_are_joined() -> None:
    assert content([{"type": "text", "text": "a "}, {"type": "text", "text": "b", "image_url": None}]) == "a b"
    assert content([{"type": "output_text", "text": "c"}]) == "c"
    assert content([]) == ""


@pytest.mark.parametrize("part", [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text"}, "text", None])
def test_any_other_part_rejects_the_row_by_its_kind(part: Any) -> None:
    with pytest.raises(RowRejected, match=r"message 0: part 1 of the content is .*; only text can be read"):
        content([{"type": "text", "text": "a"}, part])
