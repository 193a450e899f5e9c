"""Several annotated directories of the same rows."""

from __future__ import annotations

import pytest

from asr_data.config import FixedBaseline, MaskConfig, Token
from asr_data.errors import ConfigError, InputError
from asr_data.evaluation.comparing import compare
from asr_data.evaluation.evaluating import evaluate
from asr_data.scoring.config import DiffConfig
from asr_data.scoring.diff import DiffScorer
from asr_data.types import RejectedRow
from tests.evaluation.test_controls import ROWS
from tests.pipeline.conftest import Bench

AT_HALF = MaskConfig(segmenter=Token(), baseline=FixedBaseline(value=0.5))
KEEPS_ALL = MaskConfig(segmenter=Token(), baseline=FixedBaseline(value=2))


@pytest.fixture
def diffed(bench: Bench) -> Bench:
    bench.scorer = DiffScorer(DiffConfig())  # type: ignore[assignment] # a scorer like another
    bench.run(ROWS, "best", mask=AT_HALF)
    return bench


def test_each_is_compared_with_the_first(diffed: Bench) -> None:
    diffed.mask("best", "whole", KEEPS_ALL)
    found = compare([diffed.folder / name for name in ("best", "whole")], diffed.tokenizer)
    assert (found.rows, found.groups) == (3, 3)
    best, whole = found.contenders
    alone = [evaluate(diffed.folder / name, diffed.tokenizer) for name in ("best", "whole")]
    assert [best.estimates, whole.estimates] == [one.estimates for one in alone]
    assert (best.mask, whole.mask) == (AT_HALF, KEEPS_ALL)
    assert best.ahead == {}
    # Each fault is the one word that differs: the first finds all of them, keeping everything is 0.5 by definition.
    accuracy = whole.ahead["balanced_accuracy"].ahead
    assert (accuracy.value, accuracy.low, accuracy.high) == (-0.5, -0.5, -0.5)
    assert whole.ahead["token_auroc"].ahead.value == 0.0
    assert found.controls == alone[0].controls
    assert found.ahead == alone[0].ahead


def test_rows_that_one_lacks_are_left_out_and_counted(diffed: Bench) -> None:
    score = diffed.scorer.score
    diffed.scorer.score = lambda rows, on_tokens=None: [  # type: ignore[method-assign]
        RejectedRow(1, "scorer_error", "no") if row.index == 1 else score([row])[0] for row in rows
    ]
    diffed.run(ROWS, "less", mask=AT_HALF)
    diffed.mask("best", "whole", KEEPS_ALL)
    found = compare([diffed.folder / name for name in ("best", "less", "whole")], diffed.tokenizer)
    assert (found.rows, found.groups, found.evaluated.rows) == (2, 2, 3)
    assert [one.left_out for one in found.contenders] == [1, 0, 1]
    assert [one.estimates["token_auroc"].items for one in found.contenders] == [2, 2, 2]
    assert found.controls["diff"]["token_auroc"].items == 2


def test_other_rows_are_refused_by_what_differs(diffed: Bench) -> None:
    diffed.run(ROWS[:2], "two", mask=AT_HALF)
    with pytest.raises(InputError) as refused:
        compare([diffed.folder / name for name in ("best", "two")], diffed.tokenizer)
    message = str(refused.value)
    assert "is not of the same input as" in message
    assert "input.rows: was 3, now 2" in message
    assert "input.fingerprint: was" in message
    assert "description" not in message


def test_the_same_input_under_another_name(diffed: Bench) -> None:
    diffed.run(diffed.write(ROWS, "copy.jsonl"), "copied", mask=AT_HALF)
    found = compare([diffed.folder / name for name in ("best", "copied")], diffed.tokenizer)
    assert found.contenders[1].ahead["f1"].ahead.value == 0.0


def test_a_directory_given_twice(diffed: Bench) -> None:
    with pytest.raises(ConfigError, match="a directory is given twice"):
        compare([diffed.folder / "best", diffed.folder / "." / "best"], diffed.tokenizer)
