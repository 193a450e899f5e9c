"""Rewards that are not known, from labels and from a rule, through the files and back."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from asr_data.config import MaskConfig, Schmitt, Token
from asr_data.errors import ConfigError
from asr_data.pipeline import annotate
from asr_data.scoring.config import LabelsConfig, RuleConfig
from asr_data.scoring.labels import LabelScorer
from asr_data.scoring.protocol import Scored, ScorerInfo
from asr_data.scoring.rule import load_rule
from asr_data.storage import validate
from asr_data.types import ByteRewards, Label, Row

RULE = '''
def hedges(prompt, response):
    """Sentences with a hedge are bad, other sentences good; white space is unknown, and so is a short response."""
    position = 0
    for sentence in response.split("."):
        end = position + len(sentence)
        if len(response) > 20 and sentence.strip():
            yield position, end, -1.0 if "maybe" in sentence else 1.0
        position = end + 1
'''


def row(number: int, chosen: str, rejected: str, marks: Sequence[Sequence[tuple[int, int, float]]]) -> dict[str, Any]:
    return {
        "prompt": f"Question {number}: what is it?",
        "chosen": chosen,
        "rejected": rejected,
        "marks": [[{"start": s, "end": e, "reward": r} for s, e, r in side] for side in marks],
    }


ROWS = [
    row(0, "It is é one. It is two.", "It is three. Maybe it is four.", [[(0, 13, 1), (13, 24, -1)], [(13, 30, -1)]]),
    row(1, "Nobody knows anything about this.", "It is five, maybe.", [[], [(0, 18, 1)]]),
    row(2, "No labels at all here.", "None here.", [[], []]),
    row(
        3, "Here it is: maybe six, maybe seven. It is.", "Short.", [[(0, 4, 1), (8, 20, 0.5), (20, 30, 1)], [(0, 6, 1)]]
    ),
]


class MarkedScorer(LabelScorer):
    """Labels from the column ``marks``, which no reader knows."""

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:
        return super().score([self._labelled(row) for row in rows], on_tokens)

    @staticmethod
    def _labelled(given: Row) -> Row:
        labels = [tuple(Label(**mark) for mark in side) for side in given.source["marks"]]
        pairs = zip(given.completions, labels, strict=True)
        return replace(given, completions=tuple(replace(one, labels=mine or None) for one, mine in pairs))


@pytest.fixture
def scorers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "rule_for_this_test.py").write_text(RULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "rule_for_this_test", raising=False)
    rule = RuleConfig(function="rule_for_this_test:hedges")
    return {
        "labels": MarkedScorer(LabelsConfig()),
        "rule": load_rule(rule),
        "increments": load_rule(rule.model_copy(update={"form": "increment"})),
    }


SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "pivot, dataset": {"segmenter": {"kind": "pivot"}, "baseline": {"kind": "dataset"}, "end_token": "segment"},
    "optimal, running": {
        "segmenter": {"kind": "optimal", "penalty": 0.1},
        "baseline": {"kind": "running"},
        "noise": "response",
        "on_empty": "keep-best",
    },
    "steps, drop": {"segmenter": {"kind": "step"}, "baseline": {"kind": "sequence"}, "on_empty": "drop"},
    "steps, unknown drop": {"segmenter": {"kind": "step"}, "baseline": {"kind": "running"}, "unknown": "drop"},
    "token": {"segmenter": {"kind": "token"}, "segment_reward": "last", "sequence_reward": "last"},
}


@pytest.mark.parametrize("kind", ["labels", "rule", "increments"])
def test_masks_redone_equal_the_run_and_all_is_valid(bench: Any, scorers: dict[str, Any], kind: str) -> None:
    bench.scorer = scorers[kind]
    bench.score(ROWS, "scored", 2)
    assert validate(bench.folder / "scored") == []
    for name, settings in SETTINGS.items():
        config = MaskConfig.model_validate(settings)
        if kind == "increments" and config.segmenter.needs_sigma:
            # Every known span stands between unknown ones: no change says how large the noise is.
            config = config.model_copy(update={"segmenter": Schmitt(delta=0.1)})
        bench.run(ROWS, f"run {name}", 2, mask=config)
        bench.mask("scored", f"mask {name}", config)
        bench.mask("run default", f"again {name}", config)
        assert bench.files(f"run {name}") == bench.files(f"mask {name}") == bench.files(f"again {name}")
        assert validate(bench.folder / f"run {name}") == []


def test_labels_by_hand(bench: Any, scorers: dict[str, Any]) -> None:
    bench.scorer = scorers["labels"]
    config = MaskConfig.model_validate(
        {"segmenter": {"kind": "schmitt", "delta": 0.25}, "baseline": {"kind": "fixed", "value": 0.0}}
    )
    summary = bench.run(ROWS, mask=config)
    assert summary.rejects == {"no_labels": 1}
    assert summary.notes == {"unknown_chosen": 1, "empty_mask_rejected": 2}
    assert (summary.sides["chosen"].unknown_responses, summary.sides["rejected"].unknown_responses) == (1, 0)
    first, second, last = bench.table("out").to_pylist()
    # Two labels that fill the text: the end token takes the last value.
    assert first["chosen_seg_text_start"] == [0, 12]
    assert first["chosen_seg_reward"] == [1.0, -1.0]
    assert first["chosen_seg_keep"] == [True, False]
    # The first sentence has no label. "Maybe…" does, and is bad, as a rejected answer should be.
    assert first["rejected_seg_text_start"] == [0, 13]
    assert first["rejected_seg_reward"] == [None, -1.0]
    assert first["rejected_seg_keep"] == [False, True]
    assert first["rejected_reward"] == -1.0
    # Nothing known: one segment, kept because --unknown says so.
    assert set(second["chosen_token_reward"]) == {None}
    assert (second["chosen_seg_reward"], second["chosen_seg_keep"], second["chosen_reward"]) == ([None], [True], None)
    assert all(second["chosen_mask"])
    assert second["rejected_seg_reward"] == [1.0]
    # 1, unknown, 0.5 and 1 together (both above b + δ), unknown to the end.
    assert last["chosen_seg_keep"] == [True, False, True, False]
    assert [reward is None for reward in last["chosen_seg_reward"]] == [False, True, False, True]
    rewards = [first["chosen_reward"], last["chosen_reward"]]
    assert summary.sides["chosen"].mean_reward == pytest.approx(sum(rewards) / 2)


def test_a_token_on_the_border_takes_what_is_known(bench: Any, scorers: dict[str, Any]) -> None:
    bench.scorer = scorers["labels"]
    bench.run(ROWS)
    table = bench.table("out")
    scores = bench.table("out", "scores").to_pylist()[0]
    assert scores["rejected_span_end"] == [13, 30]
    assert scores["rejected_span_reward"] == [None, -1.0]
    tokens = bench.tokenizer.encode("It is three. Maybe it is four.", add_special_tokens=False)
    rewards = table["rejected_token_reward"].to_pylist()[0]
    covered = [end > 13 for end in tokens.end.tolist()]
    assert rewards[: len(covered)] == [-1.0 if known else None for known in covered]
    assert rewards[len(covered) :] == [-1.0] * (len(rewards) - len(covered))


def test_every_reader_sees_the_nulls(bench: Any, scorers: dict[str, Any]) -> None:
    bench.scorer = scorers["labels"]
    bench.run(ROWS)
    out = bench.folder / "out"
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(bench.folder / "cache"))
    assert loaded[1]["chosen_reward"] is None
    assert set(loaded[1]["chosen_token_reward"]) == {None}
    expected = [math.nan if reward is None else reward for reward in loaded[0]["rejected_token_reward"]]
    found = loaded.with_format("numpy")[0]["rejected_token_reward"]
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))
    assert loaded.with_format("torch")[0]["rejected_token_reward"].isnan().tolist() == np.isnan(found).tolist()
    scores = datasets.load_dataset(str(out), "scores", split="train", cache_dir=str(bench.folder / "cache"))
    assert scores[0]["rejected_span_reward"] == [None, -1.0]
    group = pq.ParquetFile(out / "data/train-00000.parquet").metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i).encodings for i in range(group.num_columns)}
    assert "BYTE_STREAM_SPLIT" in columns["rejected_token_reward.list.element"]


def test_in_memory(bench: Any, scorers: dict[str, Any]) -> None:
    bench.scorer = scorers["labels"]
    bench.run(ROWS)
    found = annotate(datasets.Dataset.from_list(ROWS), scorers["labels"], bench.tokenizer)
    names = [name for name in found.column_names if name not in ("asr_run", "marks")]
    assert found.select_columns(names).to_list() == bench.table("out").select(names).to_pylist()


def test_delta_needs_a_value_at_the_end_of_the_prompt(bench: Any, scorers: dict[str, Any]) -> None:
    bench.scorer = scorers["labels"]
    with pytest.raises(ConfigError, match="value at the end of the prompt"):
        bench.run(ROWS, mask=MaskConfig(reward="delta"))


def test_delta_of_a_partial_scorer_that_reads_the_prompt(bench: Any) -> None:
    def answer(given: Row) -> Scored:
        one = ByteRewards(np.array([0, 2, 4, 6]), np.array([0.5, 1.0, np.nan, 3.0]), np.zeros(0, dtype=np.int32))
        return one, one

    bench.scorer.info = ScorerInfo("fake", "rule", "value", "f" * 64, partial=True)
    bench.scorer.answers[0] = answer
    bench.run(
        [{"prompt": "What?", "chosen": "qqzzjj", "rejected": "zzqqjj"}],
        mask=MaskConfig(reward="delta", segmenter=Token()),
    )
    # One token a byte: 1 − 0.5, 1 − 1, then unknown up to the second known one after the gap, then 3 − 3.
    (found,) = bench.table("out")["chosen_token_reward"].to_pylist()
    assert found == [0.5, 0.0, None, None, None, 0.0, 0.0]
    assert validate(bench.folder / "out") == []


def test_a_model_s_nan_is_an_error_as_before(bench: Any) -> None:
    def answer(given: Row) -> Scored:
        one = ByteRewards(np.array([6]), np.array([np.nan]), np.zeros(0, dtype=np.int32))
        return one, one

    bench.scorer.answers[0] = answer
    bench.run([{"prompt": "What?", "chosen": "qqzzjj", "rejected": "zzqqjj"}, ROWS[0]])
    assert bench.rejects("out") == {0: "non_finite_reward"}
