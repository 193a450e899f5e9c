"""Scorers that read a context, and speak of one side, from rows to files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

import asr_data
from asr_data.config import MaskConfig, ScoringConfig, Token
from asr_data.errors import InputError
from asr_data.scoring.load import load_scorer
from asr_data.storage import open_output, validate
from asr_data.storage.commit import observe
from tests.pipeline.killing import Killed, killed_at

FP32 = ScoringConfig(dtype="float32", device="cpu")
TOKENS = MaskConfig(segmenter=Token())


def asked(number: int, bad: str, **columns: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": f"{number} + 2?"}],
        "chosen": [{"role": "assistant", "content": f"It is {number + 2}."}],
        "rejected": [{"role": "assistant", "content": bad}],
        **columns,
    }


ROWS = [
    asked(1, "It is five. So be it.", notes="No."),
    asked(2, "It is six.", notes="Wrong: " + "five " * 200),  # longer than the model's context
    asked(3, "Seven? No idea.", notes=None),
    asked(4, "It is nine.", notes="Not nine."),
    asked(5, "Eight.", notes="Seven."),
]


@pytest.fixture
def model(tmp_path: Path, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]) -> Path:
    head = torch.randn(len(make_tokenizer().hf), 32, generator=torch.Generator().manual_seed(1))
    return make_checkpoint(tmp_path / "lm", {"lm_head.weight": head})


@pytest.fixture
def noted(bench: Any, model: Path) -> Any:
    """A bench whose scorer shows notes beside the rejected answers."""
    bench.scorer = load_scorer(model, "contrast", context="column:notes", sides="rejected", scoring=FP32)
    bench.tokenizer = bench.scorer.tokenizer
    return bench


def test_nothing_is_lost(noted: Any) -> None:
    summary = noted.run(ROWS, mask=TOKENS)
    assert (summary.rows, summary.annotated) == (5, 3)
    assert noted.rejects("out") == {1: "too_long", 2: "no_context"}
    assert summary.notes == {"unknown_chosen": 3}
    assert (summary.sides["chosen"].unknown_responses, summary.unknown) == (3, "keep")
    assert validate(noted.folder / "out") == []
    for row in noted.table("out").to_pylist():
        assert all(row["chosen_mask"])
        assert row["chosen_reward"] is None
        assert set(row["chosen_token_reward"]) == {None}
        # The baseline of the pair is the known side's own reward, and some of its tokens are above it.
        assert not all(row["rejected_mask"])
        kept = [r <= row["rejected_reward"] for r in row["rejected_seg_reward"]]
        assert row["rejected_seg_keep"] == kept


def test_a_side_of_which_nothing_is_known_may_be_left_out(noted: Any) -> None:
    noted.run(ROWS, "kept", mask=TOKENS)
    dropped = noted.run(ROWS, "dropped", mask=MaskConfig(segmenter=Token(), unknown="drop", on_empty="drop"))
    assert dropped.annotated == 3  # no row is rejected for what is not known of it
    assert (dropped.unknown, dropped.sides["chosen"].kept_tokens) == ("drop", 0)
    for row in noted.table("dropped").to_pylist():
        assert not any(row["chosen_mask"])
        assert any(row["rejected_mask"])
    assert validate(noted.folder / "dropped") == []
    manifests = [open_output(noted.folder / name).manifest for name in ("kept", "dropped")]
    assert [m.mask.unknown for m in manifests if m.mask is not None] == ["keep", "drop"]
    # The default is not written: a run of an earlier version has the same id.
    assert ["unknown" in (noted.folder / name / "asr.json").read_text() for name in ("kept", "dropped")] == [True, True]
    assert '"unknown": "keep"' not in (noted.folder / "kept" / "asr.json").read_text()
    noted.mask("kept", "redone", MaskConfig(segmenter=Token(), unknown="drop", on_empty="drop"))
    assert noted.files("redone") == noted.files("dropped")


def test_sigma_is_that_of_what_is_scored(noted: Any, model: Path) -> None:
    noted.run(ROWS, "one", mask=TOKENS)
    both = load_scorer(model, "contrast", context="column:notes", scoring=FP32)
    noted.scorer = both
    noted.run(ROWS, "both", mask=TOKENS)
    one, two = (noted.table(name, "scores").to_pylist() for name in ("one", "both"))
    for row, other in zip(one, two, strict=True):
        assert row["rejected_span_reward"] == pytest.approx(other["rejected_span_reward"], abs=1e-4)
    sigmas = [open_output(noted.folder / name).manifest.statistics["sigma"] for name in ("one", "both")]
    assert sigmas[0] > 0
    assert sigmas[0] != sigmas[1]


@pytest.mark.parametrize("shard_rows", [2, 1_000])
def test_other_rows_are_the_same_after_any_interruption(bench: Any, model: Path, shard_rows: int) -> None:
    bench.scorer = load_scorer(model, preset="hindsight-controlled", scoring=FP32)
    bench.tokenizer = bench.scorer.tokenizer
    path = bench.write(ROWS)
    whole = bench.run(path, "whole", shard_rows, mask=TOKENS)
    # The last of three shards has one row, and so no other.
    assert bench.rejects("whole") == ({4: "no_context"} if shard_rows == 2 else {})
    assert whole.annotated == 5 - len(bench.rejects("whole"))
    for count in (5, 20, 35):
        with pytest.raises(Killed), observe(killed_at(count)):
            bench.run(path, f"killed{count}", shard_rows, mask=TOKENS)
        bench.run(path, f"killed{count}", shard_rows, mask=TOKENS, resume=True)
        assert bench.files(f"killed{count}") == bench.files("whole")


def test_a_column_that_is_not_there(bench: Any, model: Path) -> None:
    bench.scorer = load_scorer(model, preset="feedback", scoring=FP32)
    with pytest.raises(InputError, match="'feedback', which is missing; there are prompt, chosen, rejected, notes"):
        bench.run(ROWS)
    with pytest.raises(InputError, match="'feedback', which is missing"):
        bench.score(ROWS)
    assert not (bench.folder / "out").exists()


def test_in_memory(model: Path) -> None:
    scorer = load_scorer(model, "answer_value", scoring=FP32)
    rows = datasets.Dataset.from_list(ROWS)
    found = asr_data.annotate(rows, scorer, mask=MaskConfig(segmenter=Token()))
    assert len(found) == 5
    assert set(found[0]["chosen_token_reward"]) == {None}
    assert None not in found[0]["rejected_token_reward"]
    assert found[0]["asr_notes"] == ["unknown_chosen"]
