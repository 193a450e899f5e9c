"""Which columns are compared, and which is the prompt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr_data.errors import InputError
from asr_data.judging import answers_layout
from asr_data.judging.pairs import Pair, Pairs
from asr_data.rows import open_source
from asr_data.types import RejectedRow
from tests.judging.conftest import Ask
from tests.judging.server import JudgeServer

ROW: dict[str, Any] = {"tuned": "a", "base": "b"}


@pytest.mark.parametrize(
    ("row", "columns", "prompt"),
    [
        ({"prompt": "q", **ROW}, {}, "q"),
        ({"prompt": "q", "chosen": "x", "rejected": "y", **ROW}, {}, "q"),
        ({"instruction": "q", **ROW}, {}, "user:\nq"),
        ({"context": "q", **ROW}, {}, "q"),
        ({"prompt": "no", "question": "q", **ROW}, {"prompt": "question"}, "q"),
    ],
)
def test_the_prompt_of_named_answers(
    row: dict[str, Any], columns: dict[str, str], prompt: str, write_rows: Callable[..., Path]
) -> None:
    source = open_source(write_rows([row]))
    (pair,) = Pairs(source, answers_layout(source, "tuned", "base", columns))
    assert pair == Pair(0, prompt, "a", "b")


def test_a_prompt_that_is_nowhere_is_not_guessed(write_rows: Callable[..., Path]) -> None:
    source = open_source(write_rows([{"question": "q", **ROW}]))
    with pytest.raises(InputError, match="there is no prompt column"):
        answers_layout(source, "tuned", "base")
    with pytest.raises(InputError, match="chosen=best: there is no such column"):
        answers_layout(source, "best", "base")


def test_chosen_and_rejected_are_the_default(write_rows: Callable[..., Path]) -> None:
    source = open_source(write_rows([{"prompt": "q", "chosen": "a", "rejected": "b"}]))
    assert list(Pairs(source, answers_layout(source))) == [Pair(0, "q", "a", "b")]


def test_equal_conversations_without_a_prompt_column_are_rejected(write_rows: Callable[..., Path]) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    source = open_source(write_rows([{"chosen": turns, "rejected": turns}]))
    (row,) = Pairs(source, answers_layout(source))
    assert isinstance(row, RejectedRow)
    assert row.code == "identical_sides"


def test_an_input_that_changes_between_two_batches_is_noticed(
    ask: Ask, server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr_data.judging.pairs._BATCH", 1)
    path = tmp_path / "answers.jsonl"

    def turn_round(number: int) -> None:
        if number == 2:  # the rows that follow have their answers exchanged
            content = path.read_text(encoding="utf-8")
            path.write_text(content.replace("tuned", "t").replace("base", "tuned").replace('"t"', '"base"'))

    server.on_request = turn_round
    with pytest.raises(InputError, match="the input changed while it was being read"):
        ask()
    assert len(server.asked) == 2  # both orders of the first row, and nothing of what came after


def test_pairs_of_a_row_that_was_annotated_as_several() -> None:
    row = {"prompt": "p", "completions": ["a", "b", "c"], "scores": [3.0, 2.0, 1.0]}
    source = open_source([{**row, "asr_row": 0, "asr_pair": pair} for pair in range(3)])
    pairs = Pairs(source, answers_layout(source))
    assert [(pair.first, pair.second) for pair in pairs if isinstance(pair, Pair)] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
