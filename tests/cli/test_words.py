"""Settings as options: what is printed gives the same settings when it is typed."""

from __future__ import annotations

import shlex

import pytest

from asr_data.config import (
    BoundaryWeights,
    DatasetBaseline,
    FixedBaseline,
    MaskConfig,
    OptimalConfig,
    PivotConfig,
    RunningBaseline,
    SchmittConfig,
    SequenceBaseline,
    StepConfig,
)
from asr_data.evaluation.sweep import grid
from asr_data_cli.settings import Checks, MaskOptions, mask_config
from asr_data_cli.words import mask_words


def parsed(words: str) -> MaskConfig:
    """What the command line makes of the options."""
    given = shlex.split(words)
    named = {
        name.removeprefix("--").replace("-", "_"): value for name, value in zip(given[::2], given[1::2], strict=True)
    }
    blank = {"tau": None, "delta": None, "penalty": None, "boundary": None}
    kept = {"sequence_reward": "mean", "noise": "dataset", "on_empty": "keep-all", "end_token": "keep"}
    checks = Checks()
    config = mask_config(MaskOptions(**{**blank, **kept, **named}), checks)  # type: ignore[arg-type] - words are checked
    checks.finish()
    return config


@pytest.mark.parametrize(
    "config",
    [
        MaskConfig(segmenter=SchmittConfig(delta=0.25), baseline=FixedBaseline(value=-1.5)),
        MaskConfig(segmenter=SchmittConfig(k=2), baseline=DatasetBaseline(statistic=0.3)),
        MaskConfig(segmenter=PivotConfig(k=4), baseline=RunningBaseline(decay=0.9), reward="delta"),
        MaskConfig(segmenter=PivotConfig(tau=0.5), baseline=SequenceBaseline(), segment_reward="last"),
        MaskConfig(segmenter=OptimalConfig(penalty=0.01), noise="response", on_empty="keep-best"),
        MaskConfig(segmenter=OptimalConfig(boundary=BoundaryWeights(inside_word=50, word=0.5))),
        MaskConfig(segmenter=StepConfig(), sequence_reward="last", end_token="mask"),  # noqa: S106 - no secret
        *grid(MaskConfig(), ("value", "delta")),
    ],
)
def test_words_are_what_the_command_line_takes(config: MaskConfig) -> None:
    assert parsed(mask_words(config)) == config


def test_words_in_full() -> None:
    config = MaskConfig(segmenter=OptimalConfig(boundary=BoundaryWeights(inside_word=50)), end_token="mask")  # noqa: S106
    assert mask_words(config) == (
        "--segmenter optimal --penalty paper --boundary inside-word=50 --baseline pair --reward value "
        "--segment-reward mean --end-token mask"
    )
