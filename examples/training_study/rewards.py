"""Rewards of what the policies sampled: by the scorer that made the masks, and by one that had no part in them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_data.config import ScoringConfig
from asr_data.scoring import Scorer
from asr_data.scoring.load import load_scorer
from asr_data.training.config import SourceConfig, TrainingConfig
from asr_data.training.run import train_scorer
from asr_data.types import Completion, RejectedRow, Row

from .data import SIDES, Pair, read_pairs


def train_judge(bundle: Path, output: Path, max_tokens: int) -> None:
    """Train a second scorer on the training questions' preferences alone: no labelled spans or steps, another seed."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "preferences.jsonl"
        with source.open("w", encoding="utf-8") as lines:
            for pair in read_pairs(bundle, "train", 10**9):
                sides = {side: [{"role": "assistant", "content": pair.text[side]}] for side in SIDES}
                lines.write(json.dumps({"prompt": pair.prompt, **sides}) + "\n")
        config = TrainingConfig(
            sources=(SourceConfig(input=str(source), learn="preferences"),),
            max_tokens=max_tokens,
            max_length=640,
            batch_tokens=8192,
            micro_batch_tokens=16384 if torch.cuda.is_available() else 2048,  # about 8 GB, and 1 GB
            held_out=0.1,
            seed=101,
        )
        train_scorer(config, output, resume=False, progress=_Printed())


class _Printed:
    """Lines of a training run."""

    def update(self, stage: str, rows: int, total: int, tokens: int, *, unit: str = "rows", note: str = "") -> None:
        """Nothing: the lines suffice."""

    def message(self, text: str) -> None:
        """Print it."""
        print(f"judge: {text}", flush=True)


def score_runs(bundle: Path, runs: Path, scorers: Sequence[str], device: str) -> None:
    """Write ``rewards-NAME.json`` for each scorer: the mean token reward of every sample, and how it ranks the pairs.

    A scorer's file is made anew when runs were added since. ``PRESET=MODEL`` reads a model by a preset of
    ``asr-annotate scorers``: ``instructions=DIR`` is a control that no preferences were used for.
    """
    results = {path.stem: json.loads(path.read_text()) for path in sorted(runs.glob("*-[0-9]*.json"))}
    if not results:
        raise SystemExit(f"{runs} holds no results of runs")
    settings = next(iter(results.values()))["settings"]
    pairs = read_pairs(bundle, "held_out", settings["max_length"], settings["held_out"])
    for name in scorers:
        preset, named, model = name.rpartition("=")
        title = preset if named else Path(name).name
        path = runs / f"rewards-{title}.json"
        if path.exists() and set(json.loads(path.read_text())["samples"]) == set(results):
            continue
        scorer = load_scorer(model, preset=preset or None, scoring=ScoringConfig(device=device))
        samples = {run: _samples(scorer, pairs, result["samples"]) for run, result in results.items()}
        path.write_text(json.dumps({"scorer": title, "pairs": _pairs(scorer, pairs), "samples": samples}))
        print(f"{path.name}: {sum(map(len, samples.values()))} samples", flush=True)


def _samples(scorer: Scorer, pairs: Sequence[Pair], samples: Sequence[dict[str, Any]]) -> list[float | None]:
    prompts = {pair.row: pair.prompt for pair in pairs}
    return mean_rewards(scorer, [prompts[one["row"]] for one in samples], [one["text"] for one in samples])


def mean_rewards(scorer: Scorer, prompts: Sequence[list[dict[str, str]]], texts: Sequence[str]) -> list[float | None]:
    """Mean token reward of each answer to its prompt; None where there is no text, or the scorer refuses it."""
    asked = [i for i, text in enumerate(texts) if text.strip()]
    out: list[float | None] = [None] * len(texts)
    rows = [_row(prompts[i], [texts[i]]) for i in asked]
    for i, rewards in zip(asked, _rewards(scorer, rows), strict=True):
        out[i] = rewards[0] if rewards else None
    return out


def _pairs(scorer: Scorer, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Mean token reward of both sides of each held-out pair: how well the scorer knows what is preferred."""
    found = _rewards(scorer, [_row(pair.prompt, [pair.text[side] for side in SIDES]) for pair in pairs])
    return [
        {"group": pair.group, **dict(zip(SIDES, rewards, strict=True))}
        for pair, rewards in zip(pairs, found, strict=True)
        if rewards
    ]


def _row(prompt: list[dict[str, str]], texts: Sequence[str]) -> Row:
    contents = [[{"role": "assistant", "content": text}] for text in texts]
    return Row(0, {}, prompt, tuple(Completion("completion", content, preferred=True) for content in contents))


def _rewards(scorer: Scorer, rows: Sequence[Row]) -> list[list[float]]:
    """Mean reward of each completion's tokens; an empty list where the scorer refused the row."""
    out: list[list[float]] = []
    for first in range(0, len(rows), 256):
        for answer in scorer.score(rows[first : first + 256]):
            if isinstance(answer, RejectedRow):
                out.append([])
            else:  # a first span that ends at 0 is the value at the end of the prompt
                out.append([float(np.mean(r.span_reward[r.span_end > 0])) for r in answer])
    return out
