"""``--detrend`` through the pipeline: resumed, in parts, in memory, redone and swept, the masks are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from asr_data.config import MaskConfig, Part, SequenceBaseline, Token
from asr_data.errors import ConfigError
from asr_data.evaluation.evaluating import evaluate, sweep
from asr_data.pipeline import merge
from asr_data.segments.trend import recorded_trend
from asr_data.storage import open_output
from asr_data.storage.output import OutputDirectory
from asr_data.storage.validate import validate
from asr_data.types import ByteRewards, Row
from asr_data_cli.app import build_app
from tests.pipeline.conftest import Bench, pair, response_of, rewards_of

DETREND = MaskConfig(segmenter=Token(), baseline=SequenceBaseline(), detrend=True)
PLAIN = DETREND.model_copy(update={"detrend": False})


def falling(row: Row) -> tuple[ByteRewards, ...]:
    """The bench's rewards on a slope of 20 from the first byte to the last, and 2 more for the chosen response."""
    answers = []
    for completion in row.completions:
        text = response_of(completion.content)
        plain = rewards_of(text)
        slope = -20 * plain.span_end / len(text.encode()) + 2 * completion.preferred
        answers.append(ByteRewards(plain.span_end, (plain.span_reward + slope).astype(np.float32), plain.step_end, 0.5))
    return tuple(answers)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    words = ["the answer", "is it", "that one", "here", "what is", "one is here"]
    draw = np.random.default_rng(4)
    return [
        pair(n, *(" ".join(draw.choice(words, 8 + int(draw.integers(8)))) + f" {n}{side}" for side in "ab"))
        for n in range(24)
    ]


@pytest.fixture
def sloped(bench: Bench) -> Bench:
    bench.scorer.answers = dict.fromkeys(range(24), falling)
    return bench


def kept_by_fifth(bench: Bench, name: str) -> dict[str, list[float]]:
    found = evaluate(bench.folder / name, bench.tokenizer)
    return {side: [share or 0.0 for share in one.shares] for side, one in found.positions.items()}


def test_masks_no_longer_follow_position(sloped: Bench, rows: list[dict[str, Any]]) -> None:
    plain = sloped.run(rows, "plain", mask=PLAIN)
    found = sloped.run(rows, "out", mask=DETREND)
    assert all(one.by_position is not None and one.by_position.is_suspect for one in plain.sides.values())
    assert not any(one.by_position is None or one.by_position.is_suspect for one in found.sides.values())
    for shares in kept_by_fifth(sloped, "out").values():
        assert min(shares) > 0.2
    assert validate(sloped.folder / "out") == []


def test_the_manifest_has_the_trend_and_rewards_lack_it(sloped: Bench, rows: list[dict[str, Any]]) -> None:
    sloped.run(rows, "plain", mask=PLAIN)
    sloped.run(rows, "out", mask=DETREND)
    manifests = [open_output(sloped.folder / name).manifest for name in ("plain", "out")]
    assert recorded_trend(manifests[0].statistics) is None
    trend = recorded_trend(manifests[1].statistics)
    assert trend is not None
    assert (np.diff(trend) < 1).all()
    assert trend[0] - trend[-1] > 15
    # The noise is that of the rewards as they were given.
    assert manifests[0].statistics["sigma"] == manifests[1].statistics["sigma"]
    assert manifests[0].run_id != manifests[1].run_id
    assert "detrend" not in manifests[0].plan.to_json()["mask"]  # type: ignore[operator] # a JSON object
    means = [
        [manifest.statistics[f"{side}_reward_sum"] / 24 for side in ("chosen", "rejected")] for manifest in manifests
    ]
    # What is usual at a position is 0; the chosen responses stay 2 above the rejected ones, as far as draws differ.
    assert abs(sum(means[1])) < 0.5
    assert means[1][0] - means[1][1] == pytest.approx(means[0][0] - means[0][1], abs=0.2)


def test_redone_resumed_and_in_parts(sloped: Bench, rows: list[dict[str, Any]]) -> None:
    sloped.run(rows, "out", shard_rows=7, mask=DETREND)
    sloped.score(rows, "scored", shard_rows=7)
    sloped.mask("scored", "redone", DETREND)
    assert sloped.table("redone").drop(["asr_run"]).equals(sloped.table("out").drop(["asr_run"]))
    for index in range(2):
        sloped.run(rows, f"part{index}", shard_rows=7, mask=DETREND, part=Part(num_shards=2, shard_index=index))
    merge([sloped.folder / "part0", sloped.folder / "part1"], sloped.folder / "merged")
    assert sloped.files("merged") == sloped.files("out")


def test_a_killed_run_goes_on_with_the_same_trend(
    sloped: Bench, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sloped.run(rows, "out", shard_rows=7, mask=DETREND)
    commit = OutputDirectory.commit_shard

    def dying(self: OutputDirectory, stage: str, index: int, *arguments: Any) -> Any:
        if (stage, index) == ("mask", 2):
            raise KeyboardInterrupt
        return commit(self, stage, index, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(OutputDirectory, "commit_shard", dying)
        with pytest.raises(KeyboardInterrupt):
            sloped.run(rows, "killed", shard_rows=7, mask=DETREND)
    sloped.run(rows, "killed", shard_rows=7, mask=DETREND, resume=True)
    assert sloped.files("killed") == sloped.files("out")


def test_other_settings_are_not_resumed(sloped: Bench, rows: list[dict[str, Any]]) -> None:
    sloped.run(rows, "out", mask=PLAIN)
    with pytest.raises(Exception, match=r"mask\.detrend: was nothing, now true"):
        sloped.run(rows, "out", mask=DETREND, resume=True)


def test_a_sweep_gives_what_masking_gives(sloped: Bench, rows: list[dict[str, Any]]) -> None:
    sloped.run(rows, "out", mask=DETREND)
    found = sweep(sloped.folder / "out", sloped.tokenizer, by="pairs_outcome", settings=[DETREND, PLAIN])
    assert found.own.estimates == evaluate(sloped.folder / "out", sloped.tokenizer).estimates
    by_mask = {one.mask.detrend: one.estimates for one in found.settings}
    assert by_mask[True] == found.own.estimates
    assert by_mask[False]["kept"] != by_mask[True]["kept"]


def test_where_it_cannot_be(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="sequence_reward must be mean, last or sum"):
        MaskConfig(detrend=True, sequence_reward="scorer")
    with pytest.raises(ConfigError, match="no response has two tokens with a known reward"):
        bench.run([pair(0, "a", "b")], mask=DETREND)


def test_the_option(tmp_path: Any) -> None:
    wrong = CliRunner().invoke(
        build_app(), ["mask", str(tmp_path), "-o", str(tmp_path / "o"), "--detrend", "--sequence-reward", "scorer"]
    )
    assert wrong.exit_code == 2
    assert "sequence_reward must be mean, last or sum" in " ".join(wrong.output.split())
    assert "--no-detrend" not in CliRunner().invoke(build_app(), ["mask", "--help"]).output
