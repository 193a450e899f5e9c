"""The baseline that nobody chose: ``sequence`` where the scorer is told the verdict, else ``pair``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asr_data.config import MaskConfig, OutputConfig, PairBaseline, ScoringConfig, SequenceBaseline
from asr_data.errors import OutputExistsError
from asr_data.pipeline import check_before_scoring
from asr_data.storage import load_manifest
from tests.pipeline.conftest import FAKE

KNOWS = replace(FAKE, settings={"features": {"partner": [{"role": "user", "content": "{{ other }}"}], "words": True}})
READS_ALONE = replace(FAKE, settings={"features": {"scalars": ["logp"]}})


def baseline_of(bench: Any, output: str) -> Any:
    return load_manifest(bench.folder / output).plan.mask.baseline


@pytest.mark.parametrize("info", [FAKE, READS_ALONE])
def test_pair_by_default(bench: Any, pairs: Any, info: Any) -> None:
    bench.scorer.info = info
    bench.run(pairs)
    assert baseline_of(bench, "out") == PairBaseline()


def test_a_response_s_own_mean_where_the_scorer_knows_the_verdict(bench: Any, pairs: Any) -> None:
    bench.scorer.info = KNOWS
    bench.run(pairs)
    bench.run(pairs, "chosen", mask=MaskConfig(baseline=SequenceBaseline()))
    bench.run(pairs, "pair", mask=MaskConfig(baseline=PairBaseline()))
    assert baseline_of(bench, "out") == SequenceBaseline()
    assert baseline_of(bench, "pair") == PairBaseline()
    assert bench.files("out") == bench.files("chosen") != bench.files("pair")
    bench.mask("pair", "anew", MaskConfig())
    assert baseline_of(bench, "anew") == SequenceBaseline()
    assert bench.files("anew") == bench.files("out")


def test_the_same_command_again_before_and_after_the_model_is_loaded(bench: Any, pairs: Any) -> None:
    bench.scorer.info = KNOWS
    bench.run(pairs)
    source, layout = bench.open(pairs)
    known: Any = {"scoring": ScoringConfig(), "scorer_name": "fake"}
    shard_rows = load_manifest(bench.folder / "out").plan.output.shard_rows
    known["writing"] = OutputConfig(shard_rows=shard_rows)
    check_before_scoring(source, layout, bench.folder / "out", mask=MaskConfig(), **known)
    bench.run(pairs)
    with pytest.raises(OutputExistsError, match=r"mask\.baseline\.kind: was \"sequence\", now \"pair\""):
        check_before_scoring(source, layout, bench.folder / "out", mask=MaskConfig(baseline=PairBaseline()), **known)
