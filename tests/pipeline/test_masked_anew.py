"""Settings of masks that turn out not to go with the rewards: what was scored stays, and other settings are taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asr_data.config import MaskConfig, OutputConfig, ScoringConfig
from asr_data.errors import ConfigError, OutputExistsError
from asr_data.pipeline.preflight import check_before_scoring
from asr_data.types import ByteRewards, Row
from tests.pipeline.conftest import response_of

NEEDS_NOISE = MaskConfig(reward="delta", segmenter={"kind": "schmitt"})
NEEDS_NONE = MaskConfig(reward="delta", segmenter={"kind": "schmitt", "delta": 0.5})


def one_span(row: Row) -> tuple[ByteRewards, ...]:
    """A value before each response and one after it: nothing changes within, so there is no noise to estimate."""

    def of(text: str) -> ByteRewards:
        size = len(text.encode())
        values = np.array([0.0, size], dtype=np.float32)
        return ByteRewards(np.array([0, size], dtype=np.int32), values, np.zeros(0, dtype=np.int32), float(size))

    return tuple(of(response_of(completion.content)) for completion in row.completions)


@pytest.fixture
def without_noise(bench: Any, pairs: list[dict[str, Any]]) -> Any:
    bench.scorer.answers.update(dict.fromkeys(range(len(pairs)), one_span))
    return bench


@pytest.mark.parametrize("shard_rows", [1_000, 4])
def test_scores_are_kept_and_the_same_command_goes_on(
    without_noise: Any, pairs: list[dict[str, Any]], shard_rows: int
) -> None:
    bench = without_noise
    with pytest.raises(ConfigError, match=r"--delta X.*All rows are scored, and their scores are kept in .*out"):
        bench.run(pairs, shard_rows=shard_rows, mask=NEEDS_NOISE)
    scored = list(bench.scorer.scored)
    assert len(scored) >= len(pairs) - 2
    bench.run(pairs, shard_rows=shard_rows, mask=NEEDS_NONE)
    assert bench.scorer.scored == scored
    bench.run(pairs, "fresh", shard_rows=shard_rows, mask=NEEDS_NONE)
    assert bench.files("out") == bench.files("fresh")


def test_before_a_model_is_loaded_nothing_speaks_against_it(without_noise: Any, pairs: list[dict[str, Any]]) -> None:
    bench = without_noise
    with pytest.raises(ConfigError):
        bench.run(pairs, mask=NEEDS_NOISE)
    source, layout = bench.open(pairs)
    scoring = {"scoring": ScoringConfig(), "writing": OutputConfig(shard_rows=1_000), "scorer_name": "fake"}
    check_before_scoring(source, layout, bench.folder / "out", mask=NEEDS_NONE, **scoring)
    with pytest.raises(OutputExistsError, match=r"output\.shard_rows"):
        check_before_scoring(
            source, layout, bench.folder / "out", mask=NEEDS_NONE, **{**scoring, "writing": OutputConfig(shard_rows=7)}
        )


def test_once_a_shard_is_masked_other_settings_are_refused(bench: Any, pairs: list[dict[str, Any]]) -> None:
    from asr_data.pipeline import finish

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bench.run(pairs, mask=NEEDS_NONE)
    with pytest.raises(OutputExistsError, match=r"mask\.segmenter\.delta: was 0\.5, now 0\.25"):
        bench.run(pairs, mask=MaskConfig(reward="delta", segmenter={"kind": "schmitt", "delta": 0.25}))
    bench.run(pairs, mask=NEEDS_NONE)
