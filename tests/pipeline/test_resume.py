"""Killed anywhere and resumed, a run gives the same bytes; resumed as another run, it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_data.config import MaskConfig
from asr_data.errors import ConfigError, OutputExistsError
from asr_data.scoring.protocol import ScorerInfo
from asr_data.storage import validate
from asr_data.storage.commit import observe
from asr_data.types import ByteRewards, RejectedRow, Row
from tests.pipeline.killing import Killed, killed_at

RUNNING = MaskConfig.model_validate({"baseline": {"kind": "running", "decay": 0.5}, "on_empty": "drop"})


def commit_points(work: Callable[[], object]) -> int:
    points: list[str] = []
    with observe(lambda point, path: points.append(point)):
        work()
    return len(points)


def test_a_run_killed_at_any_point_and_resumed_gives_the_same_files(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs[1:5])
    total = commit_points(lambda: bench.run(path, "whole", 2, mask=RUNNING))
    expected = bench.files("whole")
    assert total > 100
    for count in range(total):
        name = f"killed{count}"
        with pytest.raises(Killed), observe(killed_at(count)):
            bench.run(path, name, 2, mask=RUNNING)
        assert not (bench.folder / name / "asr.json").exists() or not validate(bench.folder / name)[1:]
        bench.run(path, name, 2, mask=RUNNING, resume=True)
        assert bench.files(name) == expected, f"killed at commit point {count}"


def test_mask_killed_at_any_point_and_resumed_gives_the_same_files(bench: Any, pairs: Any) -> None:
    bench.score(pairs[1:5], shard_rows=2)
    total = commit_points(lambda: bench.mask("scored", "whole", RUNNING))
    expected = bench.files("whole")
    for count in range(0, total, 3):
        name = f"killed{count}"
        with pytest.raises(Killed), observe(killed_at(count)):
            bench.mask("scored", name, RUNNING)
        bench.mask("scored", name, RUNNING, resume=True)
        assert bench.files(name) == expected, f"killed at commit point {count}"


def test_a_run_killed_again_and_again_gets_there(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    bench.run(path, "whole", 3)
    for _ in range(50):
        try:
            with observe(killed_at(35)):
                bench.run(path, "out", 3, resume=(bench.folder / "out").exists())
            break
        except Killed:
            continue
    assert bench.files("out") == bench.files("whole")


def test_committed_shards_are_not_scored_again(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    seen = 0

    def observer(point: str, at: Path) -> None:
        nonlocal seen
        seen += point == "recorded"
        if seen == 2:
            raise Killed

    with pytest.raises(Killed), observe(observer):
        bench.run(path, shard_rows=3)
    bench.scorer.scored.clear()
    bench.run(path, shard_rows=3, resume=True)
    assert bench.scorer.scored == [6, 8]
    bench.run(path, shard_rows=3, resume=True)  # finished: nothing to do
    assert bench.scorer.scored == [6, 8]


@pytest.fixture
def stopped(bench: Any, pairs: Any) -> Path:
    """The input of a run that was killed half way."""
    path = bench.write(pairs)
    with pytest.raises(Killed), observe(killed_at(40)):
        bench.run(path, shard_rows=3)
    return path


def test_resuming_with_another_mask_is_refused(bench: Any, stopped: Path) -> None:
    with pytest.raises(OutputExistsError, match=r'mask.on_empty: was "keep-all", now "drop"'):
        bench.run(stopped, shard_rows=3, mask=MaskConfig(on_empty="drop"), resume=True)


def test_resuming_with_another_scorer_is_refused(bench: Any, stopped: Path) -> None:
    bench.scorer.info = replace(bench.scorer.info, fingerprint="0" * 64)
    with pytest.raises(OutputExistsError, match=r"scorer\.fingerprint"):
        bench.run(stopped, shard_rows=3, resume=True)


def test_resuming_with_another_input_is_refused(bench: Any, stopped: Path, pairs: Any) -> None:
    bench.write([*pairs[:-1], pairs[0]])
    with pytest.raises(OutputExistsError, match=r"input\.fingerprint"):
        bench.run(stopped, shard_rows=3, resume=True)


def test_resuming_with_other_shards_is_refused(bench: Any, stopped: Path) -> None:
    with pytest.raises(OutputExistsError, match=r"output\.shard_rows: was 3, now 4"):
        bench.run(stopped, shard_rows=4, resume=True)


def test_resuming_a_finished_run_with_other_settings_is_refused(bench: Any, pairs: Any) -> None:
    bench.run(pairs)
    before = bench.files("out")
    with pytest.raises(OutputExistsError, match=r"mask.end_token"):
        bench.run(pairs, mask=MaskConfig(end_token="mask"), resume=True)  # noqa: S106
    assert bench.files("out") == before


def test_the_same_run_again_goes_on_without_a_flag(bench: Any, stopped: Path) -> None:
    bench.scorer.scored.clear()
    bench.run(stopped, shard_rows=3)
    assert bench.scorer.scored == [4, 5, 6, 8]
    bench.run(stopped, "whole", shard_rows=3)
    assert bench.files("out") == bench.files("whole")
    with pytest.raises(ConfigError, match="exclude"):
        bench.run(stopped, resume=True, overwrite=True)


def test_overwrite_begins_again_and_leaves_what_is_not_ours(bench: Any, pairs: Any) -> None:
    bench.run(pairs, shard_rows=2)
    (bench.folder / "out/notes.txt").write_text("mine")
    bench.run(pairs, overwrite=True, mask=RUNNING)
    bench.run(pairs, "fresh", mask=RUNNING)
    assert bench.files("out") == {**bench.files("fresh"), "notes.txt": b"mine"}


# --- what a scorer can answer ----------------------------------------------------------------------------


def rewards(*spans: tuple[int, float], steps: tuple[int, ...] = (), reward: float | None = None) -> ByteRewards:
    ends, values = zip(*spans, strict=True) if spans else ((), ())
    return ByteRewards(np.array(ends, np.int32), np.array(values, np.float32), np.array(steps, dtype=np.int32), reward)


SIX_BYTES = rewards((6, 1.0))  # "Short."
BAD_ANSWERS = {
    "nan": ((rewards((6, float("nan"))), rewards((3, 1.0))), "non_finite_reward"),
    "infinite": ((SIX_BYTES, rewards((3, float("-inf")))), "non_finite_reward"),
    "nan of its own": ((rewards((6, 1.0), reward=float("nan")), rewards((3, 1.0))), "non_finite_reward"),
    "beyond bfloat16": ((rewards((6, 3.4028e38)), rewards((3, 1.0))), "non_finite_reward"),
    "too short": ((rewards((5, 1.0)), rewards((3, 1.0))), "wrong_reward_length"),
    "too long": ((SIX_BYTES, rewards((4, 1.0))), "wrong_reward_length"),
    "none": ((SIX_BYTES, rewards()), "wrong_reward_length"),
    "not ascending": ((rewards((6, 1.0), (6, 2.0)), rewards((3, 1.0))), "wrong_reward_length"),
    "steps outside": ((rewards((6, 1.0), steps=(3, 7)), rewards((3, 1.0))), "wrong_reward_length"),
    "one response": ((SIX_BYTES,), "wrong_reward_length"),
    "three responses": ((SIX_BYTES, rewards((3, 1.0)), SIX_BYTES), "wrong_reward_length"),
    "its own reason": (RejectedRow(2, "too_long", "9 tokens, 8 fit"), "too_long"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_wrong_answer_rejects_its_row_alone(bench: Any, pairs: Any, name: str) -> None:
    answer, code = BAD_ANSWERS[name]

    def wrong(row: Row) -> Any:
        return answer

    settings = MaskConfig.model_validate(
        {"baseline": {"kind": "sequence"}, "segmenter": {"kind": "optimal", "penalty": 0.1}}
    )
    bench.run(pairs, "well", 4, mask=settings)
    bench.scorer.answers[2] = wrong
    summary = bench.run(pairs, "ill", 4, mask=settings)
    assert summary.rejected == 3
    assert bench.rejects("ill") == {2: code, 3: "identical_sides", 7: "empty_response"}
    assert validate(bench.folder / "ill") == []
    assert bench.table("ill").equals(bench.table("well").filter([row != 2 for row in (0, 1, 2, 4, 5, 6, 8)]))


def test_increments_need_no_value_of_the_prompt(bench: Any, pairs: Any) -> None:
    bench.scorer.info = ScorerInfo("fake", "rule", "increment", "f" * 64)
    assert bench.run(pairs).annotated == 7
    assert validate(bench.folder / "out") == []
