"""``evaluate`` and ``sweep`` on directories that the pipeline wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from asr_data.config import FixedBaseline, MaskConfig, SequenceBaseline, Step, Token
from asr_data.errors import ConfigError, InputError
from asr_data.evaluation.evaluating import evaluate, sweep
from asr_data.evaluation.labelled_rows import GoldOptions
from asr_data.scoring.config import LabelsConfig
from asr_data.scoring.labels import LabelScorer
from asr_data.types import ByteRewards, Row
from tests.pipeline.conftest import Bench, pair, response_of

FAULTS = [
    ("It is four. That is right.", "It is four. That is wrong here.", ["wrong here."]),
    ("Blue, as ever.", "Blue 🙂 or not, as ever.", ["or not,"]),
    ("One and two. Three.", "One and nine. Four.", ["nine.", "Four."]),
]
AT_HALF = MaskConfig(segmenter=Token(), baseline=FixedBaseline(value=0.5))
KEEPS_ALL = MaskConfig(segmenter=Token(), baseline=FixedBaseline(value=2))
"""No reward is above 2: all of a rejected response is kept, and nothing of a chosen one, which is then kept whole."""


def spans(text: str, parts: list[str]) -> list[dict[str, Any]]:
    return [{"start": text.index(part), "end": text.index(part) + len(part), "kind": "fault"} for part in parts]


@pytest.fixture
def faulty() -> list[dict[str, Any]]:
    """Three pairs with fault spans of the rejected side, the last two of one question."""
    rows = [pair(n, good, bad, fault_spans=spans(bad, parts)) for n, (good, bad, parts) in enumerate(FAULTS)]
    rows[2]["prompt"] = rows[1]["prompt"]
    return rows


def flat(row: Row) -> tuple[ByteRewards, ...]:
    """0.5 everywhere."""
    sizes = [len(response_of(completion.content).encode()) for completion in row.completions]
    return tuple(
        ByteRewards(np.array([0, n], np.int32), np.array([0.5, 0.5], np.float32), np.zeros(0, np.int32), 0.5)
        for n in sizes
    )


@pytest.fixture
def labelled(bench: Bench, faulty: list[dict[str, Any]]) -> Callable[..., Bench]:
    """A directory ``out`` whose rewards are perfect, or say nothing."""

    def make(perfect: bool, mask: MaskConfig = AT_HALF) -> Bench:
        if perfect:
            bench.scorer = LabelScorer(LabelsConfig())  # type: ignore[assignment] - a scorer like another
        else:
            bench.scorer.answers = dict.fromkeys(range(len(faulty)), flat)
        bench.run(faulty, mask=mask)
        return bench

    return make


def test_perfect_rewards(labelled: Callable[..., Bench]) -> None:
    bench = labelled(perfect=True)
    found = evaluate(bench.folder / "out", bench.tokenizer)
    assert (found.evaluated.rows, found.evaluated.groups, found.evaluated.without_gold) == (3, 2, 0)
    assert found.mask == AT_HALF
    for name in ("token_auroc", "segment_auroc", "precision", "recall", "f1", "balanced_accuracy", "purity"):
        estimate = found.estimates[name]
        assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0), name
    assert found.estimates["pairs_outcome"].value == 1.0
    assert found.estimates["token_auroc"].items == 3  # the chosen sides have no faults to find


def test_rewards_that_say_nothing(labelled: Callable[..., Bench]) -> None:
    bench = labelled(perfect=False)
    found = evaluate(bench.folder / "out", bench.tokenizer)
    estimates = found.estimates
    assert estimates["token_auroc"].value == estimates["segment_auroc"].value == 0.5
    # 0.5 is not above b: chosen keeps nothing and is kept whole, rejected keeps all.
    assert estimates["recall"].value == 1.0
    rejected = found.evaluated.labelled_tokens - _tokens(bench, "chosen")
    assert estimates["precision"].value == pytest.approx(found.evaluated.faulty_tokens / rejected)
    assert estimates["balanced_accuracy"].value == 0.5
    assert estimates["pairs_outcome"].value == 0.5
    assert estimates["err_seq"].value == 0.0


def _tokens(bench: Bench, side: str) -> int:
    """Tokens of a side without those that end a turn: ``<|im_end|>`` and the line break after it."""
    return sum(len(row[f"{side}_ids"]) - 2 for row in bench.table("out").to_pylist())


@pytest.mark.parametrize("gold", ["fault_spans", "rejected=fault_spans", "format=fault_pairs"])
def test_gold_by_name(labelled: Callable[..., Bench], gold: str) -> None:
    bench = labelled(perfect=True)
    found = evaluate(bench.folder / "out", bench.tokenizer, options=GoldOptions(gold=gold))
    assert found.estimates["recall"].value == found.estimates["balanced_accuracy"].value == 1.0


def test_a_second_directory_as_gold(labelled: Callable[..., Bench]) -> None:
    bench = labelled(perfect=True)
    bench.mask("out", "other", KEEPS_ALL)
    gold = str(bench.folder / "out")
    same = evaluate(bench.folder / "out", bench.tokenizer, options=GoldOptions(gold=gold))
    assert [same.estimates[name].value for name in ("f1", "balanced_accuracy", "purity")] == [1.0, 1.0, 1.0]
    whole = evaluate(bench.folder / "other", bench.tokenizer, options=GoldOptions(gold=gold))
    assert whole.estimates["recall"].value == 1.0
    assert whole.estimates["balanced_accuracy"].value == 0.5


def test_rows_without_gold_and_with_unreadable_gold(bench: Bench) -> None:
    rows = [
        pair(
            0,
            "Good one.",
            "A bad one.",
            marks=[{"start": 2, "end": 5, "reward": 0.0}, {"start": 6, "end": 9, "reward": 1.0}],
        ),
        pair(1, "Good two.", "A bad two.", marks=None),
        pair(2, "Good three.", "Bad.", marks=[{"start": 2, "end": 50, "reward": 0.0}]),
    ]
    bench.run(rows)
    options = GoldOptions(gold="rejected=marks")
    found = evaluate(bench.folder / "out", bench.tokenizer, options=options)
    assert (found.evaluated.rows, found.evaluated.without_gold) == (1, 1)
    assert found.evaluated.unreadable == {"label_mismatch": 1}
    assert found.estimates["token_auroc"].items == 1


def test_without_gold_there_is_what_needs_none(bench: Bench, pairs: list[dict[str, Any]]) -> None:
    bench.run(pairs, prefix="p_", shard_rows=2)
    found = evaluate(bench.folder / "out", bench.tokenizer, options=GoldOptions(group="id"))
    assert found.evaluated.gold is None
    assert (found.evaluated.rows, found.evaluated.groups) == (7, 7)
    assert "f1" not in found.estimates
    assert found.estimates["pairs_outcome"].items == 7
    means = [(row["p_chosen_reward"], row["p_rejected_reward"]) for row in bench.table("out").to_pylist()]
    assert found.estimates["pairs_outcome"].value == pytest.approx(np.mean([good > bad for good, bad in means]))


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ("nowhere", "--gold nowhere: no such column or annotated directory; input columns are id, prompt"),
        ("margin", "--gold margin: labels of which response"),
        ("chosen=margin", "column 'margin' is double; labels are a list"),
        ("left=margin", "--gold left=margin: there is no such response; responses are chosen, rejected"),
        ("chosen=nowhere", "there is no such column"),
        ("format=nonsense", "no such format; there are prm800k"),
        ("format=prmbench_pairs", "no row to evaluate; 0 without gold labels, "),
    ],
)
def test_gold_that_cannot_be(bench: Bench, pairs: list[dict[str, Any]], gold: str, message: str) -> None:
    bench.run(pairs)
    with pytest.raises((ConfigError, InputError), match=message):
        evaluate(bench.folder / "out", bench.tokenizer, options=GoldOptions(gold=gold))


def test_other_mistakes(bench: Bench, pairs: list[dict[str, Any]], make_tokenizer: Callable[..., Any]) -> None:
    bench.run(pairs)
    bench.score(pairs)
    with pytest.raises(InputError, match="makes other tokens than the directory has"):
        evaluate(bench.folder / "out", make_tokenizer("byte_level"))
    with pytest.raises(InputError, match=r"holds scores and no masks: .* or --sweep"):
        evaluate(bench.folder / "scored", bench.tokenizer)
    with pytest.raises(ConfigError, match="--group nowhere: no such column"):
        evaluate(bench.folder / "out", bench.tokenizer, options=GoldOptions(group="nowhere"))
    with pytest.raises(ConfigError, match="--by f2: no such measure; there are token_auroc"):
        sweep(bench.folder / "out", bench.tokenizer, by="f2")
    with pytest.raises(ConfigError, match="--by f1 needs gold labels"):
        sweep(bench.folder / "out", bench.tokenizer, by="f1")


def test_a_sweep_finds_the_setting_that_fits(labelled: Callable[..., Bench]) -> None:
    bench = labelled(perfect=True, mask=KEEPS_ALL)
    tried = [MaskConfig(segmenter=Step(), baseline=FixedBaseline(value=2)), AT_HALF]
    found = sweep(bench.folder / "out", bench.tokenizer, by="balanced_accuracy", settings=tried)
    assert found.own.mask == KEEPS_ALL
    assert found.own.estimates["balanced_accuracy"].value == 0.5
    assert found.settings[0].mask == AT_HALF
    assert found.settings[0].estimates["balanced_accuracy"].value == 1.0
    better = found.settings[0].better
    assert (better.value, better.low, better.high) == (0.5, 0.5, 0.5)


def test_a_sweep_gives_what_masking_gives(bench: Bench, faulty: list[dict[str, Any]]) -> None:
    bench.run(faulty)
    tried = MaskConfig(segmenter=Token(), baseline=SequenceBaseline(), reward="delta")
    bench.mask("out", "redone", tried)
    swept = sweep(bench.folder / "out", bench.tokenizer, settings=[tried]).settings[0]
    redone = evaluate(bench.folder / "redone", bench.tokenizer)
    assert swept.estimates == redone.estimates


def test_the_whole_grid_on_scores_alone(bench: Bench, faulty: list[dict[str, Any]]) -> None:
    bench.score(faulty)
    found = sweep(bench.folder / "scored", bench.tokenizer, by="segment_auroc")
    assert found.own.mask == MaskConfig()
    values = [one.estimates["segment_auroc"].value or 0.0 for one in found.settings]
    assert values == sorted(values, reverse=True)
    assert {one.mask.segmenter.kind for one in found.settings} == {
        "token", "sequence", "step", "fixed", "pivot", "schmitt", "optimal",
    }  # fmt: skip
    assert {one.mask.reward for one in found.settings} == {"value", "delta"}
