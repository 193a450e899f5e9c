"""Fitting a linear head to what a frozen model says of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from asr_data.errors import ConfigError
from asr_data.progress import Progress
from asr_data.scoring.feature_config import FeatureConfig
from asr_data.scoring.feature_head import FeatureHead
from asr_data.scoring.features import head_input
from asr_data.training import feature_recipe as recipe
from asr_data.training.feature_tables import Read, Table
from asr_data.types import Bool, Float32, Float64


@dataclass(frozen=True, slots=True, eq=False)
class Scales:
    """How inputs are made comparable, from training tokens alone.

    Attributes:
        center: float32 ``[hidden]``.
        basis: float32 ``[hidden, components]``; ``(h − center) @ basis`` has unit variances.
        mean, std: float32 ``[scalars]``.
    """

    center: Float32
    basis: Float32
    mean: Float32
    std: Float32

    @classmethod
    def of(cls, tables: Sequence[Table], features: FeatureConfig, seed: int) -> Scales:
        """From the tables of training responses."""
        hidden = np.concatenate([table.hidden for table in tables])
        rng = np.random.default_rng(seed)
        drawn = rng.choice(len(hidden), min(recipe.COMPONENT_TOKENS, len(hidden)), replace=False)
        sample = hidden[np.sort(drawn)].astype(np.float64)
        center = sample.mean(axis=0)
        variance, vectors = np.linalg.eigh((sample - center).T @ (sample - center) / len(sample))
        count = min(recipe.COMPONENTS, len(variance))
        deviation = np.sqrt(np.maximum(variance[::-1][:count], 1e-6))
        own = np.concatenate([table.own for table in tables])
        beside = [table.partner for table in tables if table.partner is not None]
        width = len(features.partner_columns())
        partner = np.concatenate(beside) if beside else np.zeros((0, width), dtype=np.float32)
        mean = [own.mean(axis=0), partner.mean(axis=0) if len(partner) else np.zeros(width)]
        std = [own.std(axis=0), partner.std(axis=0) if len(partner) else np.ones(width)]
        return cls(
            center.astype(np.float32),
            (vectors[:, ::-1][:, :count] / deviation).astype(np.float32),
            np.concatenate(mean).astype(np.float32),
            np.maximum(np.concatenate(std), 1e-6).astype(np.float32),
        )


class Inputs:
    """Inputs of responses, made once."""

    def __init__(self, reads: Sequence[Read], features: FeatureConfig, scales: Scales) -> None:
        self._reads, self._features, self._scales = reads, features, scales
        self._made: dict[tuple[int, int, bool], Tensor] = {}

    def of(self, example: int, response: int, *, partner: bool) -> Tensor:
        """Float32 ``[tokens, components + columns]``."""
        key = (example, response, partner)
        if key not in self._made:
            read = self._reads[example]
            table = read.tables[response]
            hidden = (table.hidden.astype(np.float32) - self._scales.center) @ self._scales.basis
            preferred = read.asked.preferred[response]
            scalars = scalars_of(table, self._features, self._scales, preferred=preferred, partner=partner)
            self._made[key] = torch.from_numpy(np.concatenate([hidden, scalars], axis=1))
        return self._made[key]


def scalars_of(table: Table, features: FeatureConfig, scales: Scales, *, preferred: bool, partner: bool) -> Float32:
    """The scalars of a response as its head takes them, float32 ``[tokens, columns]``."""
    return head_input(
        features,
        table.own.astype(np.float64),
        table.partner.astype(np.float64) if partner and table.partner is not None else None,
        preferred=preferred,
        mean=scales.mean,
        std=scales.std,
    )


def token_loss(scores: Sequence[Tensor], bad: Sequence[Bool]) -> Tensor:
    """Half a cross-entropy that is blind to position, half a ranking within each response.

    In the first, good and bad tokens weigh the same within every tenth of the responses, so that it gains nothing from
    knowing where in a response a token stands. The second is the mean of ``log(1 + exp(bad − good))`` over all pairs of
    tokens of one response.

    Args:
        scores: of some responses, ``[tokens]`` each.
        bad: the same of their labels.
    """
    flat = torch.cat(list(scores))
    faulty = torch.from_numpy(np.concatenate(bad))
    place = np.concatenate([(np.arange(len(one)) + 0.5) / max(1, len(one)) for one in bad])
    tenth = torch.from_numpy((place * recipe.TENTHS).astype(np.int64))
    of_bad, of_good = (torch.bincount(tenth[which], minlength=recipe.TENTHS).float() for which in (faulty, ~faulty))
    both = torch.minimum(of_bad, of_good)
    shares = [(both / count.clamp(min=1))[tenth] for count in (of_bad, of_good)]
    weight = torch.where(faulty, shares[0], shares[1])
    entropy = (weight * softplus(torch.where(faulty, flat, -flat))).sum() / weight.sum().clamp(min=1)
    within = [
        softplus(score[torch.from_numpy(one)][:, None] - score[torch.from_numpy(~one)][None]).mean()
        for score, one in zip(scores, bad, strict=True)
        if one.any() and not one.all()
    ]
    ranking = torch.stack(within).mean() if within else flat.sum() * 0
    return (entropy + ranking) / 2


def fit(
    reads: Sequence[Read], features: FeatureConfig, seed: int, progress: Progress
) -> tuple[FeatureHead, FeatureConfig, list[dict[str, float]]]:
    """Fit a head.

    Args:
        reads: training examples.
        features: what was read.
        seed: of what is drawn.
        progress: told every 50 steps.

    Returns:
        The head, whose rewards have unit deviation on training tokens; the features with the share of the log-ratio;
        the curve.

    Raises:
        ConfigError: no example has both good and bad tokens, and there is no pair.
    """
    tables = [table for read in reads for table in read.tables]
    scales = Scales.of(tables, features, seed)
    inputs = Inputs(reads, features, scales)
    pools = _pools(reads)
    pairs = [at for at, read in enumerate(reads) if read.asked.goal == "pair"]
    if not pools and not pairs:
        raise ConfigError("no training example has both good and bad tokens, and there is no pair to learn from")
    torch.manual_seed(seed)
    linear = nn.Linear(scales.basis.shape[1] + len(features.columns()), 1)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.AdamW(linear.parameters(), lr=recipe.LEARNING_RATE, weight_decay=recipe.WEIGHT_DECAY)
    rng = np.random.default_rng(seed)
    curve: list[dict[str, float]] = []
    recent: list[float] = []
    for step in range(recipe.STEPS):
        for group in optimizer.param_groups:
            group["lr"] = recipe.LEARNING_RATE * min(1.0, (step + 1) / 20) * (1 - step / recipe.STEPS)
        loss = _step_loss(linear, inputs, reads, pools, pairs, rng)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch's annotation
        nn.utils.clip_grad_norm_(linear.parameters(), 1.0)
        optimizer.step()
        recent.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            curve.append({"step": step + 1.0, "loss": float(np.mean(recent))})
            progress.message(f"step {step + 1}/{recipe.STEPS}  loss {curve[-1]['loss']:.3f}")
            recent = []
    return *_folded(linear, inputs, reads, features, scales), curve


def _pools(reads: Sequence[Read]) -> dict[tuple[str, str], list[int]]:
    """Source and side → labelled responses with good and bad tokens."""
    pools: dict[tuple[str, str], list[int]] = {}
    for at, read in enumerate(reads):
        if read.asked.goal == "labels":
            bad = read.asked.target[read.known] <= 0.5
            if bad.any() and not bad.all():
                pools.setdefault((read.asked.source, read.asked.side), []).append(at)
    return dict(sorted(pools.items()))


def _step_loss(
    linear: nn.Linear,
    inputs: Inputs,
    reads: Sequence[Read],
    pools: dict[tuple[str, str], list[int]],
    pairs: Sequence[int],
    rng: np.random.Generator,
) -> Tensor:
    losses: list[Tensor] = []
    if pools:
        sizes = np.sqrt([len(members) for members in pools.values()])
        pool = list(pools.values())[int(rng.choice(len(pools), p=sizes / sizes.sum()))]
        members = rng.choice(pool, min(recipe.RESPONSES, len(pool)), replace=False)
        scores, bad = [], []
        for at in members.tolist():
            known = reads[at].known
            partner = bool(rng.random() >= recipe.WITHOUT_PARTNER)
            scores.append(linear(inputs.of(at, 0, partner=partner))[torch.from_numpy(known), 0])
            bad.append(reads[at].asked.target[known] <= 0.5)
        losses.append(token_loss(scores, bad))
    if pairs:
        drawn = rng.choice(pairs, min(recipe.RESPONSES, len(pairs)), replace=False).tolist()
        means = [[linear(inputs.of(at, which, partner=False)).mean() for at in drawn] for which in (0, 1)]
        losses.append(recipe.PAIR_WEIGHT * softplus(torch.stack(means[1]) - torch.stack(means[0])).mean())
    return torch.stack(losses).sum()


@torch.inference_mode()
def _folded(
    linear: nn.Linear, inputs: Inputs, reads: Sequence[Read], features: FeatureConfig, scales: Scales
) -> tuple[FeatureHead, FeatureConfig]:
    """The head over hidden states themselves, scaled to unit deviation, and the share of the log-ratio per nat."""
    labelled = [at for at, read in enumerate(reads) if read.asked.goal == "labels"]
    seen = labelled or list(range(len(reads)))
    scores = torch.cat([linear(inputs.of(at, 0, partner=True))[:, 0] for at in seen])
    deviation = float(scores.std().clamp(min=1e-6))
    ratios = [table.ratio for at in labelled for table in reads[at].tables if table.partner is not None]
    spread = float(np.concatenate(ratios).std()) if ratios else 0.0
    count = scales.basis.shape[1]
    weight = linear.weight.detach().numpy().astype(np.float64)[0] / deviation
    of_hidden: Float64 = scales.basis.astype(np.float64) @ weight[:count]
    head = FeatureHead(len(of_hidden), 1, features)
    bias = float(linear.bias[0]) / deviation - float(scales.center.astype(np.float64) @ of_hidden)
    head.load_state_dict(
        {
            "weight": torch.from_numpy(np.concatenate([of_hidden, weight[count:]])).float()[None],
            "bias": torch.tensor([bias], dtype=torch.float32),
            "mean": torch.from_numpy(scales.mean),
            "std": torch.from_numpy(scales.std),
        }
    )
    share = recipe.RATIO_SHARE / spread if spread > 0 else 0.0
    return head.eval(), features.model_copy(update={"ratio": round(share, 6)})


def scores_of(head: FeatureHead, features: FeatureConfig, read: Read, response: int, *, partner: bool) -> Float64:
    """Rewards of a response's tokens as the scorer gives them, float64 ``[tokens]``."""
    table = read.tables[response]
    state = {name: tensor.numpy() for name, tensor in head.state_dict().items()}
    scales = Scales(np.zeros(0, np.float32), np.zeros((0, 0), np.float32), state["mean"], state["std"])
    preferred = read.asked.preferred[response]
    scalars = scalars_of(table, features, scales, preferred=preferred, partner=partner)
    inputs = np.concatenate([table.hidden.astype(np.float64), scalars.astype(np.float64)], axis=1)
    own: Float64 = inputs @ state["weight"][0].astype(np.float64) + float(state["bias"][0])
    has = partner and table.partner is not None
    return own + features.ratio * table.ratio if has else own
