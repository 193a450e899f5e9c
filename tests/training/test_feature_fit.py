"""Fitting by hand-made tables: what is there to be learnt is, and what position alone would give is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from asr_data.errors import ConfigError
from asr_data.scoring.feature_config import FeatureConfig
from asr_data.training.feature_figures import feature_figures
from asr_data.training.feature_fit import Scales, fit, scores_of, token_loss
from asr_data.training.feature_tables import Asked, Read, Table, within_budget
from asr_data.types import Side

FEATURES = FeatureConfig(scalars=("logp",), partner="better-answer", words=True)


class Quiet:
    def update(self, stage: str, rows: int, total: int, tokens: int) -> None:
        pass

    def message(self, text: str) -> None:
        pass


def read(
    target: list[float],
    logp: list[float],
    *,
    in_view: list[float] | None = None,
    hidden: np.ndarray | None = None,
    group: str = "g",
    side: Side = "rejected",
    source: str = "s",
    tokens: int = 1,
) -> Read:
    """A labelled response with one scalar; its log-ratio is ``in_view − logp``."""
    count = len(target)
    own = np.array(logp, dtype=np.float32)[:, None]
    partner, ratio = None, np.zeros(count, np.float32)
    if in_view is not None:
        ratio = np.array(in_view, np.float32) - own[:, 0]
        partner = np.stack([np.array(in_view), np.clip(ratio, -3, 3), np.ones(count)], axis=1).astype(np.float32)
    states = np.zeros((count, 3)) if hidden is None else hidden
    asked = Asked(
        group=group,
        source=source,
        goal="labels",
        responses=(),
        preferred=(side == "chosen",),
        side=side,
        target=np.array(target, np.float32),
        sentence=np.arange(count, dtype=np.int32) // 2,
        tokens=tokens,
    )
    return Read(asked, (Table(states.astype(np.float16), own, partner, ratio),))


def pair(good: float, bad: float, group: str) -> Read:
    """A pair whose responses have one token each."""
    nothing, sentence = np.zeros(0, np.float32), np.zeros(1, np.int32)
    asked = Asked(group, "p pairs", "pair", (), (True, False), "chosen", nothing, sentence, 1)
    tables = []
    for value in (good, bad):
        own, ratio = np.full((1, 1), value, np.float32), np.zeros(1, np.float32)
        tables.append(Table(np.zeros((1, 3), np.float16), own, None, ratio))
    return Read(asked, tuple(tables))


def test_the_loss_by_hand() -> None:
    scores = [torch.tensor([1.0, -1.0]), torch.tensor([0.5])]
    bad = [np.array([False, True]), np.array([False])]
    # Relative positions 0.25 and 0.75, and 0.5: tenths 2, 7 and 5. No tenth has both kinds, so only ranking is left.
    assert float(token_loss(scores, bad)) == pytest.approx(math.log1p(math.exp(-2.0)) / 2)
    # Two responses of one token: tenth 5 has a good token and a bad one, of weight 1 each; no response has both.
    one = [torch.tensor([2.0]), torch.tensor([1.0])]
    entropy = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(1.0))) / 2
    assert float(token_loss(one, [np.array([False]), np.array([True])])) == pytest.approx(entropy / 2)


def test_position_alone_lowers_no_entropy() -> None:
    late = [np.arange(10) >= 5 for _ in range(4)]  # later is always worse
    by_position = [torch.linspace(3, -3, 10) for _ in range(4)]
    flat = [torch.zeros(10) for _ in range(4)]
    ranked = float(torch.nn.functional.softplus(by_position[0][5:, None] - by_position[0][None, :5]).mean())
    assert float(token_loss(by_position, late)) == pytest.approx(ranked / 2)
    assert float(token_loss(flat, late)) == pytest.approx(math.log(2) / 2)


def made(count: int, seed: int = 0) -> list[Read]:
    """Bad tokens have a low log-probability and a log-ratio below 0."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(count):
        bad = rng.random(12) < 0.4
        bad[:2] = False, True
        logp = np.where(bad, -2.0, 0.0) + rng.normal(size=12)
        view = logp + np.where(bad, -1.0, 1.0) + rng.normal(size=12)
        states = rng.normal(size=(12, 3))
        states[:, 0] += np.where(bad, -1, 1)
        side: Side = "rejected" if number % 2 else "chosen"
        target, own = np.where(bad, 0.0, 1.0).tolist(), logp.tolist()
        out.append(read(target, own, in_view=view.tolist(), hidden=states, group=f"g{number}", side=side))
    return out


def test_what_can_be_learnt_is() -> None:
    reads = [*made(40), *(pair(1.0 + n % 2, -1.0, f"q{n}") for n in range(10))]
    head, features, curve = fit(reads, FEATURES, 17, Quiet())
    assert curve[-1]["loss"] < curve[0]["loss"]
    held_out = [*made(30, seed=1), *(pair(0.5, -0.5, f"r{n}") for n in range(5))]
    found = {figure.name: figure for figure in feature_figures(held_out, head, features, 17)}
    for side in ("chosen", "rejected"):
        assert found[f"s, {side}: tokens"].value > 0.9
        assert found[f"s, {side}: tokens"].value > found[f"s, {side}: sentences, without a partner"].value - 0.1
        assert found[f"s, {side}: sentences, by shared words alone"].value == 0.5  # all words are
    assert found["p pairs: right without a partner"].value == 1.0
    labelled = np.concatenate(
        [scores_of(head, features.model_copy(update={"ratio": 0.0}), r, 0, partner=True) for r in reads[:40]]
    )
    assert labelled.std() == pytest.approx(1.0, abs=0.02)
    ratios = np.concatenate([r.tables[0].ratio for r in reads[:40]])
    assert features.ratio == pytest.approx(0.5 / ratios.std(), rel=1e-3)


def test_the_same_seed_gives_the_same_head() -> None:
    first, second = (fit(made(10), FEATURES, 3, Quiet())[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_any_partner() -> None:
    reads = [read([1.0, 0.0, 1.0], [0.0, -3.0, -0.5], group=f"g{n}") for n in range(4)]
    head, features, _ = fit(reads, FEATURES, 0, Quiet())
    assert features.ratio == 0
    scores = scores_of(head, features, reads[0], 0, partner=True)
    assert scores[1] < min(scores[0], scores[2])


def test_nothing_to_learn() -> None:
    with pytest.raises(ConfigError, match="no training example has both good and bad tokens"):
        fit([read([1.0, 1.0], [0.0, 0.0])], FEATURES, 0, Quiet())


def test_scales_whiten_hidden_states() -> None:
    rng = np.random.default_rng(2)
    mixed = rng.normal(size=(500, 3)) @ np.array([[3.0, 1, 0], [0, 1, 0.5], [0, 0, 0.2]]) + 5
    table = Table(mixed.astype(np.float16), np.zeros((500, 1), np.float32), None, np.zeros(500, np.float32))
    scales = Scales.of([table], FeatureConfig(scalars=("logp",)), 0)
    white = (mixed - scales.center) @ scales.basis
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=0.05)
    assert scales.std.tolist() == [pytest.approx(1e-6)]


def test_sources_share_a_budget() -> None:
    asked = [read([1.0, 0.0], [0, 0], source=name, tokens=10).asked for name in "aaaaaaaaabcc"]
    chosen = within_budget(asked, 60, 0.5, 1)
    counts = {name: sum(one.source == name for one in chosen) for name in "abc"}
    assert sum(counts.values()) == 6
    # Sizes 90, 10 and 20: shares by their roots are 9.5, 3.2 and 4.5 of 17.1, so 33, 11 and 16 of 60 tokens.
    assert counts == {"a": 3, "b": 1, "c": 2}
    assert len(within_budget(asked, 10_000, 0.5, 1)) == 12
    assert within_budget(asked, 60, 0.5, 1) == within_budget(asked, 60, 0.5, 1)
