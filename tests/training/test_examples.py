from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asr_data.errors import RowRejected
from asr_data.training.config import SourceConfig
from asr_data.training.examples import TrainingExample, examples_of, group_of
from asr_data.types import Completion, Label, Row, Text

USER = [{"role": "user", "content": "How much?"}]
GOOD, BAD = Label(0, 3, 1.0), Label(4, 9, 0.0)


def row(*completions: Completion, source: dict[str, Any] | None = None, prompt: Text = "Q") -> Row:
    return Row(0, source or {}, prompt, completions)


def pair(chosen: tuple[Label, ...] | None, rejected: tuple[Label, ...] | None, **more: Any) -> Row:
    return row(
        Completion("chosen", "It is ok.", True, chosen), Completion("rejected", "So it was.", False, rejected), **more
    )


def single(*labels: Label, preferred: bool = True) -> Row:
    return row(Completion("completion", "It is ok.", preferred, labels))


def learnt(given: Row, words: str = "", *, verdicts: bool = False) -> list[TrainingExample]:
    config = SourceConfig.model_validate(f"x:{words}" if words else "x")
    return examples_of(given, config, verdicts=verdicts)


def refused(given: Row, words: str = "", *, verdicts: bool = False) -> str:
    with pytest.raises(RowRejected) as caught:
        learnt(given, words, verdicts=verdicts)
    return caught.value.code


def goals(examples: list[TrainingExample]) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.goal, tuple(c.side for c in one.row.completions)) for one in examples]


def test_a_row_gives_what_it_holds_or_the_part_that_is_asked_for() -> None:
    both, pairs = ("pair", ("chosen", "rejected")), ("labels", ("chosen",))
    bad = ("labels", ("rejected",))
    assert goals(learnt(pair((GOOD,), (BAD,)))) == [both, pairs, bad]
    assert goals(learnt(pair((), (BAD,)))) == [both, bad]
    assert goals(learnt(pair(None, None))) == [both]
    assert goals(learnt(pair((GOOD,), (BAD,)), "labels")) == [pairs, bad]
    assert goals(learnt(pair((GOOD,), (BAD,)), "preferences")) == [both]
    assert refused(pair(None, None), "labels") == "no_labels"


def test_a_single_response_has_a_verdict_only_where_the_data_says_so() -> None:
    assert goals(learnt(single(), verdicts=True)) == [("verdict", ("completion",))]
    assert goals(learnt(single(GOOD))) == [("labels", ("completion",))]
    assert refused(single()) == "no_labels"
    assert refused(single(GOOD), "preferences") == "no_preference"


def test_unknown_is_never_good() -> None:
    (example,) = learnt(single(Label(0, 2, 1.0), Label(6, 8, 0.0)))
    assert example.targets is not None
    assert example.targets.span_end.tolist() == [2, 6, 8, 9]
    np.testing.assert_array_equal(example.targets.span_reward, [1.0, np.nan, 0.0, np.nan])


def test_labels_are_scaled_and_refused_beyond_the_scale() -> None:
    (example,) = learnt(single(Label(0, 2, -1.0), Label(6, 9, 0.5)), "scale=-1..1")
    assert example.targets is not None
    np.testing.assert_array_equal(example.targets.span_reward, [0.0, np.nan, 0.75])
    assert refused(single(Label(0, 2, -1.0))) == "label_out_of_range"
    assert refused(single(Label(0, 2, 5.0)), "scale=0..4") == "label_out_of_range"


def test_labels_that_do_not_fit_their_text() -> None:
    assert refused(single(Label(0, 12, 1.0))) == "label_mismatch"


def test_the_input_s_columns_are_not_kept() -> None:
    assert all(one.row.source == {} for one in learnt(pair((GOOD,), None, source={"id": "a"})))


def test_group_is_the_first_user_turn_whatever_its_spacing_and_case() -> None:
    question = [{"role": "user", "content": "How are you?"}]
    talk = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": " how  are\nyou? "},
        {"role": "assistant", "content": "Well."},
        {"role": "user", "content": "And now?"},
    ]
    assert group_of("How are you?") == group_of(question) == group_of(talk)
    assert group_of("How are you?") != group_of("Who are you?")
    # sha256sum of "how are you?": fixed for ever, or the figures of a seed would move
    assert group_of("how are you?") == "f0b380c58db9fc81"
    assert learnt(pair(None, None, prompt=USER))[0].group == group_of("how much?")


def test_group_without_a_user_is_all_text() -> None:
    assert group_of([{"role": "system", "content": "a"}, {"role": "system", "content": "b"}]) == group_of("a\nb")


def test_rewordings_of_one_problem_are_one_group() -> None:
    def group(name: str, kind: str, prompt: str) -> str:
        return learnt(pair(None, None, source={"id": name, "error_type": kind}, prompt=prompt))[0].group

    assert group("p1-circular", "circular", "Q") == group("p1-deception", "deception", "Q, in other words")
    assert group("p1-circular", "circular", "Q") != group("p2-circular", "circular", "Q")
    assert group("p1", "circular", "Q") == group_of("Q")


def test_a_column_can_say_what_belongs_together() -> None:
    def group(document: Any, prompt: str) -> str:
        return learnt(pair(None, None, source={"document": document}, prompt=prompt), "group=document")[0].group

    assert group(1, "Q") == group(1, "R") != group(2, "Q")
    assert refused(pair(None, None, source={"document": None}), "group=document") == "missing_column"


def test_criteria_can_be_weighed() -> None:
    scored = Label(0, 3, 0.5, "4,2,0,4,3", (1.0, 0.5, 0.0, 1.0, 0.75))
    (example,) = learnt(single(scored), "criteria=helpfulness-verbosity")
    assert example.targets is not None
    assert example.targets.span_reward[0] == 0.625  # (1 + (1 − 0.75)) / 2
    assert refused(single(GOOD), "criteria=helpfulness") == "label_mismatch"
