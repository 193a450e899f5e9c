"""Controls beside figures: by hand on two responses, and on directories that the pipeline wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asr_data.config import FixedBaseline, MaskConfig, Optimal, SequenceBaseline, Token
from asr_data.errors import InputError
from asr_data.evaluation.controls import CONTROLS, control_measures, of_side
from asr_data.evaluation.evaluating import evaluate
from asr_data.evaluation.labelled_rows import GoldOptions
from asr_data.evaluation.measures import FINDINGS
from asr_data.evaluation.sweep import Labelled
from asr_data.masks.batch import TokenBatch
from asr_data.scoring.config import DiffConfig
from asr_data.scoring.diff import DiffScorer
from asr_data.statistics.bootstrap import Measure
from tests.pipeline.conftest import Bench, pair

NAN = float("nan")


def labelled(shared: list[float], faulty: list[int], values: list[float]) -> Labelled:
    """A chosen response of four tokens and a rejected one of four; all tokens are written and labelled."""
    flags = np.zeros(8, dtype=np.bool_)
    flags[faulty] = True
    batch = TokenBatch(
        values=np.array(values, dtype=np.float32),
        row_offsets=np.array([0, 4, 8], dtype=np.int64),
        written=np.ones(8, dtype=np.bool_),
        end=np.zeros(8, dtype=np.bool_),
        preferred=np.array([True, False]),
        group=np.array([3, 3]),
        boundary=np.full(8, 4, dtype=np.int8),
        step_start=np.zeros(8, dtype=np.bool_),
        initial=np.full(2, NAN, dtype=np.float32),
        scorer_reward=np.full(2, NAN, dtype=np.float32),
    )
    return Labelled(batch, flags, np.ones(8, dtype=np.bool_), np.array(shared, dtype=np.float32))


VALUES = [5.0, 6, 7, 8, 1, 2, 3, 4]
TOKENS = MaskConfig(segmenter=Token(), baseline=SequenceBaseline())


def values_of(measures: dict[str, Measure]) -> dict[str, float | None]:
    return {name: one.value() for name, one in measures.items()}


def test_position_and_diff_by_hand() -> None:
    """Faults: the last token of each response, and the second of the rejected one."""
    data = labelled(shared=[1, 1, 0, 1, 1, 0, 0, 1], faulty=[3, 5, 7], values=VALUES)
    found = control_measures(data, data.batch.values, TOKENS)
    assert list(found) == list(CONTROLS)
    assert all(list(measures) == list(FINDINGS) for measures in found.values())
    position, diff = values_of(found["position"]), values_of(found["diff"])
    # chosen: 3 is last: 3 of 3; rejected: 5 before 6, after 4: 1 of 2; 7 after both: 2 of 2
    assert position["token_auroc"] == pytest.approx((1 + 3 / 4) / 2)
    # chosen: the fault is shared: level with two, above one: (½ + ½) / 3
    # rejected: 5 at 0 against 1 and 0: 1½ of 2; 7 at 1 against 1 and 0: ½ of 2
    assert diff["token_auroc"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    # Token masks at the response's own mean: position drops the later half of chosen, keeps the later half of rejected.
    # chosen: the fault is called, of three sound ones 2 is; rejected: 6, 7 called: 1 of 2 faults, 1 of 2 sound
    assert position["balanced_accuracy"] == pytest.approx(((1 + 2 / 3) / 2 + (1 / 2 + 1 / 2) / 2) / 2)
    assert position["pairs_outcome"] == 0.5  # both means are the middle
    assert diff["pairs_outcome"] == 1.0  # three of four words against two


def test_scales_are_the_scorer_s() -> None:
    """A baseline of 4.5, the mean of the rewards, cuts position and diff where their own means are."""
    data = labelled(shared=[1, 1, 0, 0, 1, 1, 0, 0], faulty=[2, 3, 6, 7], values=VALUES)
    found = control_measures(data, data.batch.values, MaskConfig(segmenter=Token(), baseline=FixedBaseline(value=4.5)))
    for control in ("position", "diff"):
        assert values_of(found[control])["balanced_accuracy"] == 1.0


def test_flat_rewards_leave_controls_their_order() -> None:
    data = labelled(shared=[1, 1, 0, 0, 1, 1, 0, 0], faulty=[2, 3, 6, 7], values=[0.5] * 8)
    found = control_measures(data, data.batch.values, TOKENS)
    assert values_of(found["position"])["token_auroc"] == 1.0
    assert values_of(found["diff"])["token_auroc"] == 1.0
    assert values_of(found["chance"])["token_auroc"] == 0.5


def test_chance_is_at_one_half_however_good_the_rewards() -> None:
    """A hundred responses of twenty tokens; of the mean of ten shuffles the standard error is about 0.005."""
    generator = np.random.default_rng(1)
    faulty = generator.random(2000) < 0.5
    ones = np.ones(2000, dtype=np.bool_)
    batch = TokenBatch(
        values=(1.0 - faulty).astype(np.float32),
        row_offsets=np.arange(0, 2001, 20, dtype=np.int64),
        written=ones,
        end=~ones,
        preferred=np.tile([True, False], 50),
        group=np.repeat(np.arange(50), 2),
        boundary=np.full(2000, 4, dtype=np.int8),
        step_start=~ones,
        initial=np.full(100, NAN, dtype=np.float32),
        scorer_reward=np.full(100, NAN, dtype=np.float32),
    )
    data = Labelled(batch, faulty, ones, np.full(2000, NAN, dtype=np.float32))
    found = control_measures(data, batch.values, TOKENS)
    assert list(found) == ["position", "chance"]  # no response has another answer
    chance = values_of(found["chance"])
    for name in ("token_auroc", "segment_auroc", "balanced_accuracy"):
        assert chance[name] == pytest.approx(0.5, abs=0.03), name
    assert chance["pairs_outcome"] == 0.5
    assert values_of(control_measures(data, batch.values, TOKENS)["chance"]) == chance
    assert values_of(control_measures(data, batch.values, TOKENS, seed=1)["chance"]) != chance


def test_controls_do_not_know_what_the_scorer_does_not() -> None:
    """Only the last two tokens of the rejected response have a reward; one of them is faulty."""
    data = labelled(shared=[1] * 4 + [1, 1, 1, 0], faulty=[3, 5, 7], values=[NAN] * 6 + [3, 4])
    found = control_measures(data, data.batch.values, TOKENS)
    for control in CONTROLS:
        assert found[control]["token_auroc"].items == 1, control
    assert values_of(found["position"])["token_auroc"] == values_of(found["diff"])["token_auroc"] == 1.0


def test_settings_in_units_of_the_scorer_and_its_own_sequence_score() -> None:
    data = labelled(shared=[1, 1, 0, 1, 1, 0, 0, 1], faulty=[3, 5, 7], values=VALUES)
    for config in (
        MaskConfig(sequence_reward="scorer", reward="delta"),
        MaskConfig(noise="response"),
        MaskConfig(segmenter=Optimal(penalty="bic")),
    ):
        assert control_measures(data, data.batch.values, config)["position"]["token_auroc"].value() == 0.875


def test_one_side() -> None:
    measures = {
        "token_auroc": Measure(np.array([1.0, 0.5]), np.array([1.0, 1.0])),
        "pairs_outcome": Measure(np.array([1.0, 0.0]), np.array([1.0, 0.0])),
    }
    rejected = of_side(measures, np.array([False, True]))
    assert (rejected["token_auroc"].value(), rejected["token_auroc"].items) == (0.5, 1)
    assert rejected["pairs_outcome"].value() == 1.0


def marked(number: int, good: str, bad: str, fault: str) -> dict[str, Any]:
    span = {"start": bad.index(fault), "end": bad.index(fault) + len(fault), "kind": "fault"}
    return pair(number, good, bad, fault_spans=[span])


ROWS = [
    marked(0, "It is four. That is right.", "It is four. That is wrong.", " wrong"),
    marked(1, "Blue, as ever it was.", "Blue, not ever it was.", " not"),
    marked(2, "One and two. Three.", "One or two. Three.", " or"),
]


def test_a_diff_is_its_own_control(bench: Bench) -> None:
    bench.scorer = DiffScorer(DiffConfig())  # type: ignore[assignment] # a scorer like another
    bench.run(ROWS, mask=TOKENS)
    found = evaluate(bench.folder / "out", bench.tokenizer)
    assert found.estimates["token_auroc"].value == 1.0  # each fault is the one word that differs
    assert found.controls["diff"]["token_auroc"] == found.estimates["token_auroc"]
    ahead = found.ahead["diff"]["token_auroc"]
    assert (ahead.ahead.value, ahead.ahead.low, ahead.ahead.high, ahead.least) == (0.0, 0.0, 0.0, 0.0)
    against = found.ahead["position"]["token_auroc"].ahead.value
    assert against == pytest.approx(1.0 - (found.controls["position"]["token_auroc"].value or 0.0))
    assert list(found.positions) == ["chosen", "rejected"]
    assert found.positions["rejected"].responses == 3
    for side in ("chosen", "rejected"):
        tokens = sum(len(row[f"{side}_ids"]) - 2 for row in bench.table("out").to_pylist())
        assert sum(found.positions[side].tokens) == tokens  # without <|im_end|> and the line end after it


def test_figures_of_one_side(bench: Bench) -> None:
    bench.run(ROWS)
    both = evaluate(bench.folder / "out", bench.tokenizer)
    rejected = evaluate(bench.folder / "out", bench.tokenizer, options=GoldOptions(side="rejected"))
    chosen = evaluate(bench.folder / "out", bench.tokenizer, options=GoldOptions(side="chosen"))
    assert both.estimates["segments"].items == 6
    assert (chosen.estimates["segments"].items, rejected.estimates["segments"].items) == (3, 3)
    assert chosen.estimates["token_auroc"].value is None  # no chosen response has a fault
    assert rejected.estimates["token_auroc"] == both.estimates["token_auroc"]
    assert rejected.estimates["pairs_outcome"] == both.estimates["pairs_outcome"]


def test_masks_by_position_are_seen_in_the_summary_and_the_evaluation(bench: Bench) -> None:
    rows = [pair(n, f"Number {n} is a good one.", f"Number {n} is a bad one.") for n in range(20)]
    summary = bench.run(rows)
    found = evaluate(bench.folder / "out", bench.tokenizer)
    for side, one in summary.sides.items():
        assert one.by_position == found.positions[side]
        assert one.by_position is not None
        assert one.by_position.responses == 20


def test_a_directory_without_masks_is_refused(bench: Bench) -> None:
    bench.score(ROWS)
    with pytest.raises(InputError, match="holds scores and no masks"):
        evaluate(bench.folder / "scored", bench.tokenizer)
