from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

import asr_data
from asr_data.errors import ConfigError
from asr_data.scoring.config import DiffConfig, parse_config
from asr_data.scoring.diff import DiffScorer
from asr_data.scoring.protocol import Scorer
from asr_data.types import Completion, RejectedRow, Row, Text

NAN = float("nan")


def pair(chosen: Text, rejected: Text) -> Row:
    return Row(4, {}, "Why?", (Completion("chosen", chosen, True), Completion("rejected", rejected, False)))


def test_words_in_bytes() -> None:
    """``Über`` has five bytes; white space goes with the word that follows, the line end with the full stop."""
    (scored,) = DiffScorer(DiffConfig()).score([pair("Über alles 7.\n", "über ALLES 8!")])
    assert isinstance(scored, tuple)
    chosen, rejected = scored
    assert (chosen.span_end.tolist(), chosen.span_end.dtype) == ([5, 11, 13, 15], np.int32)
    assert (chosen.span_reward.tolist(), chosen.span_reward.dtype) == ([1, 1, 0, 0], np.float32)
    assert (rejected.span_end.tolist(), rejected.span_reward.tolist()) == ([5, 11, 13, 14], [1, 1, 0, 0])
    assert (chosen.reward, chosen.step_end.tolist()) == (None, [])


def test_reasoning_and_calls_are_compared_too() -> None:
    (scored,) = DiffScorer(DiffConfig()).score(
        [
            pair(
                [{"role": "assistant", "reasoning_content": "two", "content": "one"}],
                [{"role": "assistant", "content": "two one"}],
            )
        ]
    )
    assert isinstance(scored, tuple)
    text = "<think>\ntwo\n</think>\n\none"
    assert scored[0].span_end[-1] == len(text)
    assert scored[0].span_reward.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert scored[1].span_reward.tolist() == [1, 1]


def test_white_space_alone_is_unknown() -> None:
    (scored,) = DiffScorer(DiffConfig()).score([pair(" \n", "a word")])
    assert isinstance(scored, tuple)
    assert scored[0].span_end.tolist() == [2]
    np.testing.assert_array_equal(scored[0].span_reward, np.array([NAN], dtype=np.float32))
    assert scored[1].span_reward.tolist() == [0, 0]


def test_a_row_without_another_answer_is_rejected() -> None:
    row = Row(7, {}, "Why?", (Completion("completion", "Because.", True),))
    (rejected,) = DiffScorer(DiffConfig()).score([row])
    assert isinstance(rejected, RejectedRow)
    assert (rejected.index, rejected.code) == (7, "no_other_answer")
    assert "has one" in rejected.message


def test_the_unit_is_a_setting() -> None:
    (scored,) = DiffScorer(DiffConfig(unit="code")).score([pair("a_b", "A_B")])
    assert isinstance(scored, tuple)
    assert scored[0].span_reward.tolist() == [0]
    assert parse_config({"kind": "diff", "unit": "character"}) == DiffConfig(unit="character")
    with pytest.raises(ValidationError, match="'auto', 'character' or 'code'"):
        parse_config({"kind": "diff", "unit": "line"})


def test_who_gave_the_rewards() -> None:
    plain, code = asr_data.load_scorer(kind="diff"), DiffScorer(DiffConfig(unit="code"))
    assert isinstance(plain, DiffScorer)
    assert isinstance(plain, Scorer)
    assert (plain.info.name, plain.info.kind, plain.info.form, plain.info.settings) == ("diff", "diff", "value", {})
    assert code.info.settings == {"unit": "code"}
    assert plain.info.fingerprint != code.info.fingerprint
    with pytest.raises(ConfigError, match="compares the two answers and no model; leave out here"):
        asr_data.load_scorer("here", "diff")
