"""The online rule against the offline columns, which were tested by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from asr_data.config import MaskConfig
from asr_data.losses import adaptive_mask
from asr_data.masks.apply import segment_and_mask
from asr_data.masks.batch import TokenBatch
from asr_data.segments.rewards import round_bfloat16

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"kind": "schmitt", "delta": 0.3}, {"segmenter": "schmitt", "threshold": 0.3}),
    ({"kind": "schmitt"}, {"segmenter": "schmitt"}),
    ({"kind": "pivot", "tau": 0.8}, {"segmenter": "pivot", "threshold": 0.8}),
    ({"kind": "pivot"}, {"segmenter": "pivot"}),
    ({"kind": "optimal", "penalty": 0.5, "boundary": None}, {"segmenter": "optimal", "threshold": 0.5}),
    ({"kind": "optimal", "penalty": 0.0, "boundary": None}, {"segmenter": "optimal", "threshold": 0.0}),
    ({"kind": "optimal", "penalty": "bic", "boundary": None}, {"segmenter": "optimal"}),
    ({"kind": "optimal", "penalty": "paper", "boundary": None}, {"segmenter": "optimal", "threshold": "paper"}),
    ({"kind": "step"}, {"segmenter": "step"}),
    ({"kind": "token"}, {"segmenter": "token"}),
    ({"kind": "sequence"}, {"segmenter": "sequence"}),
]
BASELINES: list[tuple[dict[str, Any], Any]] = [
    ({"kind": "sequence"}, "sequence"),
    ({"kind": "pair"}, "pair"),
    ({"kind": "fixed", "value": 0.1}, 0.1),
]


def random_batch(seed: int, rows: int = 12, longest: int = 60) -> tuple[TokenBatch, dict[str, torch.Tensor]]:
    """The same ragged responses, flat and padded on both sides."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, rows)
    width = int(lengths.max()) + 4
    flat, valid = [], np.zeros((rows, width), dtype=bool)
    for r, n in enumerate(lengths):
        levels = rng.normal(0, 1, n // 8 + 1).repeat(8)[:n]
        flat.append(levels + rng.normal(0, 0.2, n))
        first = rng.integers(0, width - n + 1)
        valid[r, first : first + n] = True
    values = round_bfloat16(np.concatenate(flat).astype(np.float32))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    end = np.zeros(len(values), dtype=bool)
    end[offsets[1:] - 1] = rng.random(rows) < 0.7
    written = (rng.random(len(values)) < 0.9) | end
    step = rng.random(len(values)) < 0.2
    group = np.arange(rows) // 2
    batch = TokenBatch(
        values=values,
        row_offsets=offsets.astype(np.int64),
        written=written,
        end=end,
        preferred=np.arange(rows) % 2 == 0,
        group=group,
        boundary=np.zeros(len(values), dtype=np.int8),
        step_start=step,
        initial=np.full(rows, np.nan, dtype=np.float32),
        scorer_reward=np.full(rows, np.nan, dtype=np.float32),
    )
    padded = {"valid": torch.from_numpy(valid), "preferred": torch.from_numpy(batch.preferred)}
    for name, column in (("rewards", values), ("written", written), ("end", end), ("step_start", step)):
        full = np.zeros((rows, width), dtype=column.dtype)
        full[valid] = column
        padded[name] = torch.from_numpy(full)
    return batch, {**padded, "group": torch.from_numpy(group)}


@pytest.mark.parametrize(("offline", "online"), CASES, ids=lambda case: str(case))
@pytest.mark.parametrize(("baseline", "given"), BASELINES, ids=["sequence", "pair", "number"])
def test_equal_to_the_columns(
    offline: dict[str, Any], online: dict[str, Any], baseline: dict[str, Any], given: Any
) -> None:
    for seed in range(6):
        batch, padded = random_batch(seed)
        settings: dict[str, Any] = {
            "on_empty": ("keep-all", "keep-best")[seed % 2],
            "end_token": ("keep", "mask", "segment")[seed % 3],
            "sequence_reward": ("mean", "last", "sum")[seed // 2],
            "segment_reward": ("mean", "last")[seed // 3],
        }
        config = MaskConfig(segmenter=offline, baseline=baseline, noise="response", **settings)  # type: ignore[arg-type]
        expected, _ = segment_and_mask(batch, config)
        mask = adaptive_mask(**padded, **online, baseline=given, **settings)
        assert np.array_equal(mask[padded["valid"]].numpy(), expected.mask), (seed, settings)
        assert not mask[~padded["valid"]].any()


def test_boundary_weights() -> None:
    weights = {"inside_word": 3.0, "word": 1.0, "clause": 0.5, "sentence": 0.25, "line": 0.1}
    for seed in range(6):
        batch, padded = random_batch(seed)
        kinds = np.random.default_rng(seed).integers(0, 5, len(batch.values)).astype(np.int8)
        config = MaskConfig.model_validate({"segmenter": {"kind": "optimal", "penalty": 0.4, "boundary": weights}})
        expected, _ = segment_and_mask(replace(batch, boundary=kinds), config)
        padded["boundary"] = torch.zeros(padded["valid"].shape, dtype=torch.float64)
        padded["boundary"][padded["valid"]] = torch.tensor(list(weights.values()), dtype=torch.float64)[kinds]
        mask = adaptive_mask(**padded, segmenter="optimal", threshold=0.4, baseline="pair")
        assert np.array_equal(mask[padded["valid"]].numpy(), expected.mask)


def test_drop_masks_all_of_an_empty_response() -> None:
    rewards = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    valid = torch.ones(2, 2, dtype=torch.bool)
    end = torch.tensor([[False, True], [False, True]])
    preferred = torch.tensor([False, False])
    mask = adaptive_mask(rewards, valid, preferred, segmenter="token", baseline=0.0, end=end, on_empty="drop")
    assert mask.tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"valid": torch.zeros(2, 2, dtype=torch.bool)}, "response 0 has no valid token"),
        ({"rewards": torch.tensor([[1.0, float("nan")], [0, 0]])}, "rewards holds numbers"),
        ({"preferred": torch.tensor([1, 0])}, "preferred is torch.int64"),
        ({"baseline": "pair"}, "needs group"),
        ({"segmenter": "step"}, "needs step_start"),
        ({"segmenter": "wave"}, "allowed are pivot"),
        ({"threshold": "bic"}, "allowed are a number, auto"),
        ({"on_empty": "keep"}, "allowed are keep-all"),
        ({"baseline": torch.zeros(3)}, "one per response"),
    ],
)
def test_wrong_input(changed: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "rewards": torch.ones(2, 2),
        "valid": torch.ones(2, 2, dtype=torch.bool),
        "preferred": torch.tensor([True, False]),
    }
    with pytest.raises(ValueError, match=message):
        adaptive_mask(**{**given, **changed})
