"""Settings as options: what is printed gives the same settings when it is typed."""

from __future__ import annotations

import shlex

import pytest

from asr_data.config import (
    BoundaryWeights,
    ConfidenceWeights,
    DatasetBaseline,
    FixedBaseline,
    MaskConfig,
    Optimal,
    Pivot,
    RunningBaseline,
    Schmitt,
    SegmentWeights,
    SequenceBaseline,
    ShareWeights,
    SoftWeights,
    Step,
)
from asr_data.evaluation.sweep import grid
from asr_data_cli.option_groups import MaskOptions
from asr_data_cli.setting_text import mask_text
from asr_data_cli.settings import Checks


def parsed(words: str) -> MaskConfig:
    """What the command line makes of the options."""
    given = shlex.split(words)
    named = {
        name.removeprefix("--").replace("-", "_"): value for name, value in zip(given[::2], given[1::2], strict=True)
    }
    defaults = {parameter.name: parameter.default for parameter in MaskOptions.parameters()}
    checks = Checks()
    config = MaskOptions({**defaults, **named}).config(checks)
    checks.finish()
    return config


@pytest.mark.parametrize(
    "config",
    [
        MaskConfig(segmenter=Schmitt(delta=0.25), baseline=FixedBaseline(value=-1.5)),
        MaskConfig(segmenter=Schmitt(k=2), baseline=DatasetBaseline(statistic=0.3)),
        MaskConfig(segmenter=Pivot(k=4), baseline=RunningBaseline(decay=0.9), reward="delta"),
        MaskConfig(segmenter=Pivot(tau=0.5), baseline=SequenceBaseline(), segment_reward="last"),
        MaskConfig(segmenter=Optimal(penalty=0.01), noise="response", on_empty="keep-best"),
        MaskConfig(segmenter=Optimal(boundary=BoundaryWeights(inside_word=50, word=0.5))),
        MaskConfig(segmenter=Step(), sequence_reward="last", end_token="mask"),  # noqa: S106 - no secret
        MaskConfig(segmenter=Schmitt(delta=0.123456789), baseline=FixedBaseline(value=12345678.5)),
        MaskConfig(weights=SegmentWeights()),
        MaskConfig(weights=SoftWeights(low=-0.25, high=2)),
        MaskConfig(weights=SoftWeights()),
        MaskConfig(weights=ShareWeights(share=0.3), unknown="drop"),
        MaskConfig(weights=ConfidenceWeights()),
        *grid(MaskConfig(), ("value", "delta")),
    ],
)
def test_words_are_what_the_command_line_takes(config: MaskConfig) -> None:
    assert parsed(mask_text(config)) == config


def test_words_in_full() -> None:
    config = MaskConfig(segmenter=Optimal(boundary=BoundaryWeights(inside_word=50)), end_token="mask")  # noqa: S106
    assert mask_text(config) == (
        "--segmenter optimal --penalty paper --boundary inside-word=50 --baseline pair --reward value "
        "--segment-reward mean --end-token mask"
    )
