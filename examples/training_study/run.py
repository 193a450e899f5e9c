"""One run: train a method with a seed, measure held-out pairs, sample. Its result is one JSON file."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from .data import SIDES, Pair, read_pairs, unique_prompts
from .methods import METHODS, Method, loss_of, masks_of
from .policy import Policy, load_base, log_probabilities


@dataclass(frozen=True, slots=True)
class Settings:
    """What all runs of a study share; runs of other settings do not mix with them.

    Attributes:
        rows: training pairs; None for all.
        held_out: held-out pairs; None for all.
        max_length: longer pairs are left out.
        epochs: passes over the training pairs.
        batch: pairs per step.
        micro_batch: pairs per forward pass; bounds the memory.
        learning_rate: the peak: a tenth of the steps up, a cosine down.
        beta: of DPO.
        rank: of the adapter.
        layers: the last ones of the decoder, which get an adapter.
        prompts: held-out prompts that are answered.
        new_tokens: longest answer.
        temperature: of sampling.
        online_steps: of the on-line methods, which draw ``batch`` answers in each.
        answers: to one prompt, for these; two for on-line DPO, whatever is said here.
        kl: weight of the KL to the reference in on-line rejection sampling (paper, eq. 11).
        win_rate_every: steps of these between two measurements of the win rate against the base, on the prompts that
            are answered, by the scorer (paper, figure 5); 0 for none.
        policy: that is trained: ``builtin`` (SmolLM2-135M-Instruct), a directory or a Hub id of the Llama or Qwen kind.
        scorer: that rewards answers on line, as ``asr-annotate run --model`` takes it.
    """

    rows: int | None = 800
    held_out: int | None = None
    max_length: int = 640
    epochs: float = 1.0
    batch: int = 16
    micro_batch: int = 8
    learning_rate: float = 2e-4
    beta: float = 0.1
    rank: int = 16
    layers: int = 15
    prompts: int = 150
    new_tokens: int = 64
    temperature: float = 1.0
    online_steps: int = 40
    answers: int = 4
    kl: float = 0.05
    win_rate_every: int = 0
    policy: str = "builtin"
    scorer: str = "builtin"


class Sized(Protocol):
    """What the order of training depends on."""

    @property
    def epochs(self) -> float: ...  # noqa: D102 - as in Settings

    @property
    def batch(self) -> int: ...  # noqa: D102 - as in Settings


@dataclass(frozen=True, slots=True)
class Fit:
    """What a training run left beside its weights.

    Attributes:
        curve: the mean loss of each step, on line the mean reward.
        win_rate: the figures of :class:`asr_data.trl.WinRateCallback`, with their steps.
        log: on line, what the trainer logged in each step.
    """

    curve: list[float]
    win_rate: list[dict[str, float]] = field(default_factory=list)
    log: list[dict[str, float]] = field(default_factory=list)


References = dict[str, list[Tensor]]


class Study:
    """Data, base model and its log-probabilities, loaded once for all runs of a process."""

    def __init__(self, bundle: Path, settings: Settings, device: str) -> None:
        self.settings = settings
        self.train = read_pairs(bundle, "train", settings.max_length, settings.rows)
        self.held_out = read_pairs(bundle, "held_out", settings.max_length, settings.held_out)
        self.base, self.tokenizer = load_base(device, settings.policy)

    @cached_property
    def train_reference(self) -> References:
        """The base's log-probabilities of the training pairs; rejection sampling needs none."""
        return self._reference(self.train)

    @cached_property
    def held_out_reference(self) -> References:
        """The base's log-probabilities of the held-out pairs."""
        return self._reference(self.held_out)

    def run(self, name: str, seed: int) -> dict[str, Any]:
        """Train ``name`` (``base``: not at all) and measure."""
        started, cpu = time.monotonic(), time.process_time()
        torch.manual_seed(seed)
        policy = Policy(self.base, self.tokenizer, self.settings.rank, self.settings.layers)
        fit = Fit([]) if name == "base" else self.fit(policy, METHODS[name], seed)
        trained, cpu_trained = time.monotonic() - started, time.process_time() - cpu
        ratios = self._log_ratios(policy)
        prompts = unique_prompts(self.held_out, self.settings.prompts)
        torch.manual_seed(seed)
        answers = policy.sample([p.prompt_ids for p in prompts], self.settings.new_tokens, self.settings.temperature)
        samples = [{"row": p.row, "group": p.group, **asdict(a)} for p, a in zip(prompts, answers, strict=True)]
        return {
            "method": name,
            "seed": seed,
            "settings": asdict(self.settings),
            "device": _device_name(self.base.device),
            "train_pairs": len(self.train),
            "seconds": {"training": trained, "all": time.monotonic() - started},
            "cpu_seconds": {"training": cpu_trained, "all": time.process_time() - cpu},
            "curve": fit.curve,
            "win_rate": fit.win_rate,
            "log": fit.log,
            "pairs": ratios,
            "samples": samples,
        }

    @torch.no_grad()
    def _reference(self, pairs: Sequence[Pair]) -> References:
        """Log-probabilities ``[response]`` of each response, by side."""
        out: References = {side: [torch.zeros(0)] * len(pairs) for side in SIDES}
        for some in _by_length(pairs, self.settings.micro_batch):
            batch = [pairs[i] for i in some]
            found = log_probabilities(self.base.model, self.base.lm_head, batch, SIDES)
            for side, of_side in zip(SIDES, found, strict=True):
                for i, logps in zip(some, of_side, strict=True):
                    out[side][i] = logps[: len(pairs[i].ids[side])].clone()
        return out

    def fit(self, policy: Policy, method: Method, seed: int) -> Fit:
        """Train a fresh policy."""
        settings = self.settings
        if method.online:
            from .online import fit_online  # needs TRL

            asked = unique_prompts(self.held_out, settings.prompts)
            return fit_online(policy, method, self.train, settings, seed, asked)
        masks = masks_of(self.train, method, seed)
        optimizer = torch.optim.AdamW(policy.parameters, lr=settings.learning_rate, weight_decay=0.0)
        order = list(batches(len(self.train), settings, seed))
        curve = []
        policy.model.train()
        for step, drawn in enumerate(order):
            batch = sorted(drawn, key=lambda i: -self.train[i].length)  # less padding in a micro-batch
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(step, len(order))
            total = 0.0
            for first in range(0, len(batch), settings.micro_batch):
                some = batch[first : first + settings.micro_batch]
                loss = self._loss(policy, method, masks, some) * _share(method, masks, some, batch)
                loss.backward()  # type: ignore[no-untyped-call] # torch's annotation
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(policy.parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            curve.append(total)
        policy.model.eval()
        return Fit(curve)

    def _loss(
        self, policy: Policy, method: Method, masks: Mapping[str, list[list[bool]]], some: Sequence[int]
    ) -> Tensor:
        pairs = [self.train[i] for i in some]
        picked = {side: [masks[side][i] for i in some] for side in SIDES}
        needed = SIDES if method.loss == "dpo" else ()
        reference = {side: [self.train_reference[side][i] for i in some] for side in needed}
        return loss_of(method, policy, pairs, picked, reference, self.settings.beta)

    @torch.no_grad()
    def _log_ratios(self, policy: Policy) -> list[dict[str, Any]]:
        """Of each held-out pair, Σ log π − log π_ref of both sides: over all tokens, and over kept ones."""
        out: list[dict[str, Any]] = [{"row": pair.row, "group": pair.group} for pair in self.held_out]
        for some in _by_length(self.held_out, self.settings.micro_batch):
            found = policy.log_probabilities([self.held_out[i] for i in some], SIDES)
            for side, of_side in zip(SIDES, found, strict=True):
                for i, logps in zip(some, of_side, strict=True):
                    reference = self.held_out_reference[side][i]
                    ratio = (logps[: len(reference)] - reference).double().cpu()
                    kept = torch.tensor(self.held_out[i].mask[side])
                    out[i][side] = {"all": float(ratio.sum()), "kept": float(ratio[kept].sum())}
        return out


def _by_length(pairs: Sequence[Pair], size: int) -> Iterator[list[int]]:
    order = sorted(range(len(pairs)), key=lambda i: -pairs[i].length)
    for first in range(0, len(order), size):
        yield order[first : first + size]


def batches(count: int, settings: Sized, seed: int) -> Iterator[list[int]]:
    """The order of training: the same for all methods of a seed."""
    random = torch.Generator().manual_seed(seed)
    steps = max(1, round(settings.epochs * count / settings.batch))
    left: list[int] = []
    for _ in range(steps):
        while len(left) < min(settings.batch, count):
            left += torch.randperm(count, generator=random).tolist()
        yield left[: settings.batch]
        left = left[settings.batch :]


def schedule(step: int, steps: int) -> float:
    """The share of the peak learning rate: a tenth of the steps up, a cosine down."""
    warm = max(1, round(0.1 * steps))
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _share(method: Method, masks: Mapping[str, list[list[bool]]], some: Sequence[int], batch: Sequence[int]) -> float:
    """What a micro-batch weighs in its batch, so that the sum is the batch's own mean."""
    if method.loss == "dpo":
        return len(some) / len(batch)
    kept = [sum(sum(masks["chosen"][i]) for i in part) for part in (some, batch)]
    return kept[0] / max(1, kept[1])


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def train_all(
    bundle: Path,
    runs: Path,
    settings: Settings,
    methods: Sequence[str],
    seeds: Sequence[int],
    device: str,
    minutes: float,
    budget: float = math.inf,
) -> None:
    """Every run that has no result yet, seed by seed, until the time is up.

    Args:
        bundle: of :func:`.data.prepare`.
        runs: directory of the results.
        settings: of all runs.
        methods: names of :data:`.methods.METHODS`, and ``base``.
        seeds: of each method.
        device: where to train.
        minutes: no run is begun after so many, of this call.
        budget: CPU minutes of all runs in the directory, those of earlier calls counted; none is begun that would go
            beyond if it took as long as the longest so far.
    """
    started = time.monotonic()
    runs.mkdir(parents=True, exist_ok=True)
    asked = [(seed, name, runs / f"{name}-{seed}.json") for seed in seeds for name in methods]
    for _, _, path in asked:
        if path.exists() and json.loads(path.read_text())["settings"] != asdict(settings):
            raise SystemExit(f"{path} was made with other settings; give another directory for these runs")
    missing = [entry for entry in asked if not entry[2].exists()]
    if not missing:
        return
    study = Study(bundle, settings, device)
    loaded = time.monotonic() - started
    print(f"{len(study.train)} training and {len(study.held_out)} held-out pairs; loaded in {loaded:.0f} s", flush=True)
    for seed, name, path in missing:
        if path.exists():  # by another process, meanwhile
            continue
        spent = [json.loads(one.read_text())["cpu_seconds"]["all"] for one in runs.glob("*-[0-9]*.json")]
        if sum(spent) + max(spent, default=0.0) > 60 * budget:
            print(f"{name}-{seed} and what follows would go beyond {budget:g} CPU minutes: left for another call")
            return
        if time.monotonic() - started > 60 * minutes:
            print(f"{minutes} minutes are up: {name}-{seed} and what follows is left for another call", flush=True)
            return
        result = study.run(name, seed)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(result))
        partial.rename(path)
        right = sum(p["chosen"]["all"] > p["rejected"]["all"] for p in result["pairs"]) / max(1, len(result["pairs"]))
        seconds = result["seconds"]
        print(
            f"{name}-{seed}: {seconds['all']:.0f} s ({seconds['training']:.0f} training), right {right:.3f}", flush=True
        )
