"""The training loop: a plan fixed by the seed, steps, checkpoints, figures."""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from asr_data.errors import ConfigError
from asr_data.progress import Progress
from asr_data.scoring.engine import pad
from asr_data.scoring.token_head import TokenRewardModel
from asr_data.training.config import TrainingConfig
from asr_data.training.encode import Unit
from asr_data.training.objective import unit_loss
from asr_data.types import Float32

DEFAULT_MAX_TOKENS: Final = 2_000_000
"""Training tokens where neither these nor epochs are asked for."""


@dataclass(frozen=True, slots=True)
class OptimiserStep:
    """The units of one step, in micro-batches."""

    micro_batches: tuple[tuple[int, ...], ...]
    units: int
    tokens: int


def plan_steps(units: Sequence[Unit], config: TrainingConfig) -> list[OptimiserStep]:
    """Order of all training, in steps of ``batch_tokens``, until ``max_tokens`` or for as many ``epochs``.

    Sources are mixed so that each gets tokens in proportion to its size to the power of ``mixing``; inside a
    source, units come in shuffled epochs. With ``epochs``, a source that was used up that often is left while the
    others go on, and the last step may be smaller.
    """
    sizes: dict[str, int] = {}
    for unit in units:
        sizes[unit.source] = sizes.get(unit.source, 0) + unit.tokens
    streams = {source: _epochs(units, source, config.seed, config.epochs) for source in sorted(sizes)}
    drawn = dict.fromkeys(streams, 0)
    limit = math.inf if config.epochs else config.max_tokens or DEFAULT_MAX_TOKENS
    steps: list[OptimiserStep] = []
    total, members, size = 0, list[int](), 0
    while streams and total < limit:
        source = min(streams, key=lambda s: (drawn[s] / sizes[s] ** config.mixing, s))
        i = next(streams[source], None)
        if i is None:
            del streams[source]
        else:
            members.append(i)
            drawn[source] += units[i].tokens
            size += units[i].tokens
        if members and (size >= config.batch_tokens or not streams):
            steps.append(OptimiserStep(_micro_batches(units, members, config.micro_batch_tokens), len(members), size))
            total, members, size = total + size, [], 0
    return steps


def _epochs(units: Sequence[Unit], source: str, seed: int, epochs: int | None) -> Iterator[int]:
    """Positions of a source's units, each epoch in a new order; for ever where ``epochs`` is None."""
    rng = random.Random(f"{seed} {source}")  # noqa: S311 - not for secrets
    order = [i for i, unit in enumerate(units) if unit.source == source]
    for _ in itertools.repeat(None) if epochs is None else range(epochs):
        rng.shuffle(order)
        yield from order


def _micro_batches(units: Sequence[Unit], members: Sequence[int], budget: int) -> tuple[tuple[int, ...], ...]:
    """Units of like length together; a pair is never split."""

    def longest(i: int) -> int:
        return max(len(s.ids) for s in units[i].sequences)

    batches: list[list[int]] = []
    rows = 0
    for i in sorted(members, key=lambda i: (-longest(i), i)):
        more = len(units[i].sequences)
        if batches and (rows + more) * longest(batches[-1][0]) <= budget:
            batches[-1].append(i)
            rows += more
        else:
            batches.append([i])
            rows = more
    return tuple(tuple(batch) for batch in batches)


def values_of(model: TokenRewardModel, units: Sequence[Unit]) -> list[list[Tensor]]:
    """Values over each response's tokens, unit by unit; bfloat16 matrix products where the hardware has them."""
    device = next(model.parameters()).device
    sequences = [s for unit in units for s in unit.sequences]
    ids, attention = pad([s.ids for s in sequences])
    with torch.autocast(device.type, torch.bfloat16):
        hidden = model.backbone(
            input_ids=ids.to(device), attention_mask=attention.to(device), use_cache=False
        ).last_hidden_state
    logits = model.head(hidden.float())[..., 0]
    rows = iter(logits[i, s.first : len(s.ids)] for i, s in enumerate(sequences))
    return [[next(rows) for _ in unit.sequences] for unit in units]


def learning_rate(step: int, steps: int, config: TrainingConfig) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    warmup = max(1, round(config.warmup * steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return config.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def train(
    model: TokenRewardModel, units: Sequence[Unit], config: TrainingConfig, work: Path, progress: Progress
) -> list[dict[str, float]]:
    """Run all steps, from the last checkpoint if there is one.

    Args:
        model: the trainable parameters are those with ``requires_grad``.
        units: the training units.
        config: settings.
        work: holds the checkpoint.
        progress: told after every step.

    Returns:
        The curve: step, tokens, seconds, mean loss by kind of data.
    """
    if not units:
        raise ConfigError("no training example is left after reading and tokenising; see the counts by reason")
    steps = plan_steps(units, config)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.01)
    first, curve = _restore(work, model, optimizer)
    recent: dict[str, list[float]] = {}
    tokens = sum(s.tokens for s in steps[:first])
    started = time.monotonic() - (curve[-1]["seconds"] if curve else 0.0)
    model.train()
    for number in range(first, len(steps)):
        torch.manual_seed(config.seed * 1_000_003 + number)  # a resumed run draws what an undisturbed one would
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(number, len(steps), config)
        for source, losses in _optimise(model, units, steps[number], optimizer, parameters, config).items():
            recent.setdefault(source, []).extend(losses)
        tokens += steps[number].tokens
        progress.update("training", number + 1, len(steps), tokens)
        if (number + 1) % config.checkpoint_steps == 0 or number + 1 == len(steps):
            point = {
                "step": float(number + 1),
                "tokens": float(tokens),
                "seconds": time.monotonic() - started,
            }
            point |= {f"loss_{k}": float(np.mean(v)) for k, v in sorted(recent.items())}
            curve.append(point)
            recent = {}
            told = "  ".join(f"{k} {v:.3f}" for k, v in point.items() if k.startswith("loss_"))
            progress.message(f"step {number + 1}/{len(steps)}  {tokens:,} tokens  {told}")
            _checkpoint(work, model, optimizer, number + 1, curve)
    return curve


def _optimise(
    model: TokenRewardModel,
    units: Sequence[Unit],
    step: OptimiserStep,
    optimizer: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    config: TrainingConfig,
) -> dict[str, list[float]]:
    seen: dict[str, list[float]] = {}
    for micro_batch in step.micro_batches:
        members = [units[i] for i in micro_batch]
        losses = [
            unit_loss(unit, values, config.rank_weight)
            for unit, values in zip(members, values_of(model, members), strict=True)
        ]
        (torch.stack(losses).sum() / step.units).backward()  # type: ignore[no-untyped-call] # torch's annotation
        for unit, loss in zip(members, losses, strict=True):
            seen.setdefault(unit.source, []).append(float(loss.detach()))
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return seen


@torch.inference_mode()
def predict(model: TokenRewardModel, units: Sequence[Unit], budget: int, progress: Progress) -> list[list[Float32]]:
    """Values for every unit, in order, length-sorted inside."""
    model.eval()
    out: list[list[Float32]] = [[] for _ in units]
    done = tokens = 0
    for batch in _micro_batches(units, range(len(units)), budget):
        for i, values in zip(batch, values_of(model, [units[i] for i in batch]), strict=True):
            out[i] = [v.float().cpu().numpy() for v in values]
            done, tokens = done + 1, tokens + units[i].tokens
        progress.update("measuring", done, len(units), tokens)
    return out


def _trainable(model: TokenRewardModel) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def _checkpoint(
    work: Path,
    model: TokenRewardModel,
    optimizer: torch.optim.Optimizer,
    step: int,
    curve: list[dict[str, float]],
) -> None:
    work.mkdir(parents=True, exist_ok=True)
    partial = work / "checkpoint.partial"
    state = {
        "step": step,
        "curve": json.dumps(curve),
        "model": _trainable(model),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, partial)
    partial.replace(work / "checkpoint.pt")


def _restore(
    work: Path, model: TokenRewardModel, optimizer: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]]]:
    path = work / "checkpoint.pt"
    if not path.exists():
        return 0, []
    state = torch.load(path, weights_only=True)  # tensors and numbers only: nothing in it can run
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state["model"].items():
            parameters[name].copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), list(json.loads(state["curve"]))
