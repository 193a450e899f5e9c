"""Does masking put the credit where the fault is? DPO with the weights of each arm, and what it does to marked text.

What is measured on unseen pairs, before training ends several times: how well the policy's own log-ratio (policy −
reference) tells marked faults from the rest of a response, and how far it moved right and faulty text of rejected
responses, and the tokens that end an answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_data.losses import adaptive_dpo_loss, adaptive_rs_loss

from .credit_data import MarkedPair, read_marked
from .data import SIDES, unique_prompts
from .methods import padded
from .policy import Policy, load_base
from .run import batches, schedule
from .upper import LowerStates, Placed, upper_log_probabilities

PLAIN = "dpo"
"""The arm that trains on all tokens."""
SAMPLED = "rs"
"""Rejection sampling: the likelihood of all tokens of chosen responses."""
ADAPTIVE_SAMPLED = "-ars"
"""``gold-ars`` is rejection sampling with the weights of ``gold``."""
UNTRAINED = "base"
"""No training: what the others' answers are compared with."""
TURNED = "-turned"
"""``gold-turned`` trains on the weights of ``gold``, turned round in each response by a number of tokens drawn by
chance: as many tokens in stretches as long, in places that say nothing."""


@dataclass(frozen=True, slots=True)
class CreditSettings:
    """What all runs of a directory share.

    Attributes:
        rows, held_out: training and test pairs; None for all.
        max_length: longer pairs are left out.
        epochs, batch, micro_batch, learning_rate, beta, rank, layers: as in :class:`.run.Settings`.
        checkpoints: measurements while training, the last one at its end.
        detach, length_normalized: of :func:`asr_data.losses.adaptive_dpo_loss`.
        prompts: test prompts that are answered at the end, with at most ``new_tokens`` tokens; 0 for none.
        policy: as in :class:`.run.Settings`.
    """

    rows: int | None = 64
    held_out: int | None = 64
    max_length: int = 320
    epochs: float = 1.0
    batch: int = 8
    micro_batch: int = 4
    learning_rate: float = 2e-4
    beta: float = 0.1
    rank: int = 16
    layers: int = 15
    checkpoints: int = 3
    detach: bool = False
    length_normalized: bool = False
    prompts: int = 0
    new_tokens: int = 48
    policy: str = "builtin"


class CreditStudy:
    """Data, the layers that nothing trains and the base's log-probabilities, computed once for all runs of a process.

    Args:
        bundle: of :func:`.credit_data.prepare_arms`.
        settings: of all runs.
        base: of :func:`.policy.load_base`.
    """

    def __init__(self, bundle: Path, settings: CreditSettings, base: tuple[Any, Any]) -> None:
        self.settings = settings
        self.train = read_marked(bundle, "train", settings.max_length, settings.rows)
        self.test = read_marked(bundle, "test", settings.max_length, settings.held_out)
        self.base, self._tokenizer = base
        self._lower = LowerStates(self.base, settings.layers)
        of_train, of_test = (
            self._lower.add([one.pair for one in part], settings.micro_batch) for part in (self.train, self.test)
        )
        self._placed = {id(self.train): of_train, id(self.test): of_test}
        upper = self._lower.upper(self.base.model)
        self._reference = {id(part): self._logps(upper, part) for part in (self.train, self.test)}

    @torch.no_grad()
    def _logps(self, upper: Any, marked: Sequence[MarkedPair]) -> dict[str, list[Tensor]]:
        """Log-probabilities of every response, by side."""
        out: dict[str, list[Tensor]] = {side: [torch.zeros(0)] * len(marked) for side in SIDES}
        placed: Sequence[Placed] = self._placed[id(marked)]
        order = sorted(range(len(marked)), key=lambda i: -marked[i].pair.length)
        for first in range(0, len(order), self.settings.micro_batch):
            some = order[first : first + self.settings.micro_batch]
            found = upper_log_probabilities(upper, self.base.lm_head, [placed[i] for i in some])
            for side in SIDES:
                for i, logps in zip(some, found[side], strict=True):
                    out[side][i] = logps
        return out

    def run(self, arm: str, seed: int) -> dict[str, Any]:
        """Train one arm and measure; what is returned is JSON."""
        settings, started = self.settings, time.process_time()
        torch.manual_seed(seed)  # of the adapter
        policy = Policy(self.base, self._tokenizer, settings.rank, settings.layers)
        upper = self._lower.upper(policy.model.model)
        weights = arm_weights(self.train, arm, seed)
        optimizer = torch.optim.AdamW(policy.parameters, lr=settings.learning_rate, weight_decay=0.0)
        order = [] if arm == UNTRAINED else list(batches(len(self.train), settings, seed))
        marks = {round(len(order) * k / settings.checkpoints) for k in range(1, settings.checkpoints + 1)}
        curve: list[float] = []
        measured: list[dict[str, Any]] = []
        for step, drawn in enumerate(order):
            policy.model.train()
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(step, len(order))
            batch = sorted(drawn, key=lambda i: -self.train[i].pair.length)
            total = 0.0
            for first in range(0, len(batch), settings.micro_batch):
                loss = self._loss(upper, arm, weights, batch[first : first + settings.micro_batch], batch)
                loss.backward()  # type: ignore[no-untyped-call] # torch's annotation
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(policy.parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            curve.append(total)
            if step + 1 in marks:
                policy.model.eval()
                measured.append({"step": step + 1, "pairs": self._measured(upper)})
        policy.model.eval()
        return {
            "arm": arm,
            "seed": seed,
            "settings": asdict(settings),
            "train_pairs": len(self.train),
            "kept": kept_share(self.train, weights),
            "curve": curve,
            "measured": measured,
            "samples": self._samples(policy, seed),
            "cpu_seconds": time.process_time() - started,
        }

    def _samples(self, policy: Policy, seed: int) -> list[dict[str, Any]]:
        """Answers to test prompts; the adapter is merged for them."""
        asked = unique_prompts([one.pair for one in self.test], self.settings.prompts)
        torch.manual_seed(seed)
        answers = policy.sample([one.prompt_ids for one in asked], self.settings.new_tokens, 1.0) if asked else []
        return [
            {"row": one.row, "group": one.group, "prompt": one.prompt, **asdict(answer)}
            for one, answer in zip(asked, answers, strict=True)
        ]

    def _loss(
        self,
        upper: Any,
        arm: str,
        weights: Mapping[str, Sequence[Sequence[float]]],
        some: Sequence[int],
        batch: Sequence[int],
    ) -> Tensor:
        """What a micro-batch adds to the loss of its batch."""
        pairs, device = [self.train[i].pair for i in some], self.base.device
        found = upper_log_probabilities(upper, self.base.lm_head, [self._placed[id(self.train)][i] for i in some])
        logps = [_padded(found[side], device) for side in SIDES]
        reference = self._reference[id(self.train)]
        base = [_padded([reference[side][i] for i in some], device) for side in SIDES]
        by = [_padded([torch.tensor(weights[side][i]) for i in some], device) for side in SIDES]
        if is_sampled(arm):
            own, all_of = (sum(sum(weights["chosen"][i]) for i in part) for part in (some, batch))
            return adaptive_rs_loss(logps[0], by[0]) * (own / all_of if all_of else 0.0)
        valid = [padded([[True] * len(pair.ids[side]) for pair in pairs], device) for side in SIDES]
        settings = self.settings
        return adaptive_dpo_loss(
            *logps,
            *base,
            *by,
            beta=settings.beta,
            detach=settings.detach,
            length_normalized=settings.length_normalized,
            normalizer=len(batch),
            chosen_valid=valid[0],
            rejected_valid=valid[1],
        )

    def _measured(self, upper: Any) -> list[dict[str, Any]]:
        """The log-ratio of every token of the test pairs, summed up."""
        found, reference = self._logps(upper, self.test), self._reference[id(self.test)]
        ratios = {
            side: [(own - base).double().cpu().numpy() for own, base in zip(found[side], reference[side], strict=True)]
            for side in SIDES
        }
        end = self._tokenizer.eos_token_id
        return [
            pair_figures(marked, {side: ratios[side][i] for side in SIDES}, end) for i, marked in enumerate(self.test)
        ]


def is_sampled(arm: str) -> bool:
    """Whether an arm trains on chosen responses alone, by their likelihood."""
    return arm == SAMPLED or arm.removesuffix(TURNED).endswith(ADAPTIVE_SAMPLED)


def _padded(rows: Sequence[Tensor], device: torch.device) -> Tensor:
    """``[batch, longest]``, 0 behind a response."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).to(device)


def arm_weights(marked: Sequence[MarkedPair], arm: str, seed: int) -> dict[str, list[list[float]]]:
    """What each token of the training pairs counts, by side."""
    draw = np.random.default_rng(seed)
    out: dict[str, list[list[float]]] = {side: [] for side in SIDES}
    for one in marked:
        for side in SIDES:
            size = len(one.pair.ids[side])
            turn = int(draw.integers(size))  # drawn for all arms alike
            if arm in (PLAIN, SAMPLED, UNTRAINED):
                weights = np.ones(size)
            else:
                weights = np.array(one.weights[arm.removesuffix(TURNED).removesuffix(ADAPTIVE_SAMPLED)][side])
                weights = np.roll(weights, turn) if arm.endswith(TURNED) else weights
            out[side].append(weights.tolist())
    return out


def kept_share(marked: Sequence[MarkedPair], weights: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, float]:
    """The share of tokens with a weight above 0, by side."""
    tokens = {side: sum(len(one.pair.ids[side]) for one in marked) for side in SIDES}
    return {side: sum(w > 0 for own in weights[side] for w in own) / max(1, tokens[side]) for side in SIDES}


def pair_figures(marked: MarkedPair, ratios: Mapping[str, Any], end: int | None = None) -> dict[str, Any]:
    """Figures of one test pair.

    Args:
        marked: the pair.
        ratios: policy less reference by side, in nats, float64 ``[tokens]``.
        end: the token that ends a turn; None where the last token does. It is no text: it moves by nats, and has the
            label of what stands before it. A template may write more behind it.
    """
    found: dict[str, Any] = {"row": marked.pair.row, "group": marked.pair.group}
    for side in SIDES:
        ratio, labels = ratios[side], marked.faulty[side]
        ids = np.array(marked.pair.ids[side])
        ends = [len(ids) - 1] if end is None else np.flatnonzero(ids == end)
        known = np.array([label is not None for label in labels]) & (ids != end)
        faulty = np.array([bool(label) for label in labels]) & known
        right = known & ~faulty
        found[side] = {
            "sum": float(ratio.sum()),
            "end": float(ratio[ends[-1]]) if len(ends) else None,
            # Schulman's k3 of KL(π‖π_ref), on text that neither sampled: how far the policy went.
            "distance": float((np.exp(-ratio) + ratio - 1).clip(max=10).mean()),
            "right": None if not right.any() else float(ratio[right].mean()),
            "faulty": None if not faulty.any() else float(ratio[faulty].mean()),
            "auroc": _auroc(-ratio[known], faulty[known]),
            "position": _auroc(np.flatnonzero(known), faulty[known]),
        }
    return found


def _auroc(scores: Any, positive: Any) -> float | None:
    """How often a marked token scores above one that is not, ties half; None where one of the two is missing."""
    high, low = scores[positive], scores[~positive]
    if not len(high) or not len(low):
        return None
    return float((high[:, None] > low).mean() + (high[:, None] == low).mean() / 2)


def run_arms(
    bundle: Path,
    runs: Path,
    settings: CreditSettings,
    arms: Sequence[str],
    seeds: Sequence[int],
    budget: float,
    load: Callable[[], tuple[Any, Any]] | None = None,
) -> None:
    """Every run that has no result yet, seed by seed, in ``budget`` CPU minutes, those of earlier calls counted.

    Args:
        bundle: of :func:`.credit_data.prepare_arms`.
        runs: a file for each run.
        settings: of all runs.
        arms: names; see the README.
        seeds: of the adapter, the order and turned masks.
        budget: CPU minutes.
        load: gives the base and its tokenizer; default :func:`.policy.load_base`.

    Raises:
        SystemExit: results of other settings.
    """
    runs.mkdir(parents=True, exist_ok=True)
    asked = [(arm, seed, runs / f"{arm}-{seed}.json") for seed in seeds for arm in arms]
    done = [json.loads(path.read_text()) for path in sorted(runs.glob("*.json"))]
    if any(result["settings"] != asdict(settings) for result in done):
        raise SystemExit(f"{runs} holds runs of other settings; give another directory")
    spent = [result["cpu_seconds"] for result in done]
    missing = [one for one in asked if not one[2].exists()]
    print(
        f"{len(missing)} of {len(asked)} runs to do; {sum(spent) / 60:.1f} of {budget:g} CPU minutes spent", flush=True
    )
    if not missing:
        return
    started = time.process_time()
    study = CreditStudy(bundle, settings, load() if load else load_base("cpu", settings.policy))
    loading = time.process_time() - started
    for arm, seed, path in missing:
        if sum(spent) + loading + max(spent, default=0.0) > 60 * budget:
            print(f"{arm}-{seed} and what follows would go beyond {budget:g} CPU minutes: left for another call")
            return
        result = study.run(arm, seed)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(result))
        partial.rename(path)
        spent.append(result["cpu_seconds"])
        print(f"{arm}-{seed}: {result['cpu_seconds']:.0f} CPU seconds", flush=True)
