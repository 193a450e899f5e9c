from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asr_data.errors import ConfigError
from asr_data.scoring.config import LabelsConfig
from asr_data.scoring.labels import LabelScorer
from asr_data.scoring.load import load_scorer
from asr_data.scoring.protocol import Scorer
from asr_data.types import ByteRewards, Completion, Label, RejectedRow, Row

NAN = float("nan")
FINGERPRINT = "1f07b3b0b381ee1dec29ef7aaee0246907cf2f55c753a1339637e32a705912dc"


def row(*sides: tuple[str, tuple[Label, ...] | None], index: int = 4) -> Row:
    names: Any = ("chosen", "rejected")
    completions = tuple(
        Completion(side, text, side == "chosen", labels) for side, (text, labels) in zip(names, sides, strict=False)
    )
    return Row(index, {}, "Why?", completions)


def rewards_of(text: str, *labels: Label, config: LabelsConfig | None = None) -> ByteRewards:
    (scored,) = LabelScorer(config or LabelsConfig()).score([row((text, labels))])
    assert isinstance(scored, tuple)
    return scored[0]


def test_what_has_no_label_is_unknown() -> None:
    found = rewards_of("Café is right.", Label(0, 5, 1.0), Label(9, 14, -0.5))
    assert (found.span_end.tolist(), found.span_end.dtype) == ([5, 9, 14, 15], np.int32)
    np.testing.assert_array_equal(found.span_reward, np.array([1.0, NAN, -0.5, NAN], dtype=np.float32))
    assert found.span_reward.dtype == np.float32
    assert found.step_end.tolist() == []
    assert found.reward is None


@pytest.mark.parametrize(
    ("labels", "steps"),
    [
        ((Label(0, 2, 1.0), Label(2, 4, 0.0), Label(4, 6, 1.0)), [2, 4, 6]),
        ((Label(0, 2, 1.0), Label(2, 4, 0.0)), [2, 4, 6]),  # the first error is the last label
        ((Label(0, 2, 1.0), Label(3, 6, 0.0)), []),
        ((Label(1, 2, 1.0), Label(2, 6, 0.0)), []),
        ((Label(0, 6, 1.0),), []),
        ((Label(0, 3, 1.0),), []),
    ],
)
def test_labels_that_follow_each_other_are_steps(labels: tuple[Label, ...], steps: list[int]) -> None:
    assert rewards_of("abcdef", *labels).step_end.tolist() == steps


def test_line_ends_belong_to_the_step_before() -> None:
    found = rewards_of("One.\n\nTwo.\nx", Label(0, 4, 1.0), Label(6, 10, 0.0))
    assert found.span_end.tolist() == [6, 10, 12]
    np.testing.assert_array_equal(found.span_reward, np.array([1.0, 0.0, NAN], dtype=np.float32))
    assert found.step_end.tolist() == [6, 10, 12]
    spaced = rewards_of("One. Two.", Label(0, 4, 1.0), Label(5, 9, 0.0))
    assert spaced.span_end.tolist() == [4, 5, 9], "a space might begin a token of what follows"
    assert spaced.step_end.tolist() == [5, 9]


def test_rewards_by_name() -> None:
    labels = (Label(0, 1, 1.0, "+"), Label(1, 2, 0.0, "-"), Label(2, 3, 0.25))
    found = rewards_of("abc", *labels, config=LabelsConfig(rewards={"-": -2.0, "?": 9.0}))
    assert found.span_reward.tolist() == [1.0, -2.0, 0.25]


def test_a_side_without_labels_is_unknown() -> None:
    for nothing in (None, ()):
        (scored,) = LabelScorer(LabelsConfig()).score([row(("one", nothing), ("two", (Label(0, 3, 1.0),)))])
        assert isinstance(scored, tuple)
        assert scored[0].span_end.tolist() == [3]
        assert np.isnan(scored[0].span_reward).tolist() == [True]
        assert scored[1].span_reward.tolist() == [1.0]


def test_rows_that_cannot_be_scored() -> None:
    rows = [
        row(("one", None), ("two", ()), index=0),
        row(("one", (Label(0, 3, 1.0),)), index=1),
        row(("one", (Label(0, 2, 1.0), Label(1, 3, 1.0))), index=2),
        row(("one", (Label(0, 4, 1.0),)), index=3),
        row(("one", (Label(1, 1, 1.0),)), index=4),
        row(("one", (Label(0, 1, NAN),)), index=5),
    ]
    scored = LabelScorer(LabelsConfig()).score(rows)
    codes = {one.index: one.code for one in scored if isinstance(one, RejectedRow)}
    mismatch = dict.fromkeys((2, 3, 4), "label_mismatch")
    assert codes == {0: "no_labels", **mismatch, 5: "non_finite_reward"}


def test_only_the_assistant_s_text_has_labels() -> None:
    content = [
        {"role": "assistant", "content": "ab"},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "content": "c"},
    ]
    completion = Completion("completion", content, True, (Label(1, 3, 1.0),))
    (scored,) = LabelScorer(LabelsConfig()).score([Row(0, {}, [], (completion,))])
    assert isinstance(scored, tuple)
    assert scored[0].span_end.tolist() == [1, 3]


def test_who_it_is() -> None:
    one, same = LabelScorer(LabelsConfig(rewards={"a": 1, "b": 2})), LabelScorer(LabelsConfig(rewards={"b": 2, "a": 1}))
    assert isinstance(one, Scorer)
    assert one.tokenizer is None
    assert (one.info.name, one.info.kind, one.info.form, one.info.partial) == ("labels", "labels", "value", True)
    assert one.info.fingerprint == same.info.fingerprint
    assert one.info.fingerprint != LabelScorer(LabelsConfig()).info.fingerprint
    assert len(one.info.fingerprint) == 64
    assert isinstance(load_scorer(kind="labels"), LabelScorer)


def test_rewards_are_numbers() -> None:
    with pytest.raises(ConfigError):
        LabelsConfig(rewards={"+": NAN})


def test_criteria_are_weighed() -> None:
    label = Label(0, 6, 0.5, "4,2,0,4,3", (1.0, 0.5, 0.0, 1.0, 0.75))
    assert rewards_of("abcdef", label).span_reward.tolist() == [0.5]
    weighed = LabelsConfig(criteria={"helpfulness": 1.0, "verbosity": -1.0})
    assert rewards_of("abcdef", label, config=weighed).span_reward.tolist() == [0.625]  # (1 + (1 − 0.75)) / 2
    (refused,) = LabelScorer(weighed).score([row(("abcdef", (Label(0, 6, 1.0, "+"),)))])
    assert isinstance(refused, RejectedRow)
    assert (refused.code, "'+' has no scores" in refused.message) == ("label_mismatch", True)
    with pytest.raises(ConfigError, match="at least one weight"):
        LabelsConfig(criteria={"helpfulness": 0.0})
    with pytest.raises(ConfigError, match="helpfulness"):
        LabelsConfig.model_validate({"criteria": {"beauty": 1.0}})


def test_the_fingerprint_tells_weights_and_is_as_it_was_without() -> None:
    plain, weighed = LabelScorer(LabelsConfig()), LabelScorer(LabelsConfig(criteria={"coherence": 1.0}))
    # sha256sum of {"form": "value", "kind": "labels", "rewards": {}}
    assert plain.info.fingerprint == FINGERPRINT
    assert weighed.info.fingerprint != plain.info.fingerprint
