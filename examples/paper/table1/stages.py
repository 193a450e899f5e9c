"""The stages before the benchmarks: prompts, pairs of the policy's own, masks, trained checkpoints."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from asr_data.config import ScoringConfig
from asr_data.rows import detect, first_records, open_source, read_rows
from asr_data.scoring.load import load_scorer
from asr_data.types import RejectedRow
from examples.training_study.data import annotated_pairs, write_pairs
from examples.training_study.methods import METHODS
from examples.training_study.policy import Policy, load_base
from examples.training_study.rewards import mean_rewards
from examples.training_study.run import Settings, Study

from .files import read_lines, write_json, write_lines

SEED = 0


def make_prompts(inputs: Sequence[str], count: int, output: Path) -> None:
    """``prompts.jsonl``: the first ``count`` different prompts of each input, in turn.

    Raises:
        AsrDataError: an input that is not there or whose layout is not known.
        SystemExit: an input without a prompt.
    """
    if output.exists():
        return
    prompts: dict[str, dict[str, Any]] = {}
    for given in inputs:
        taken = 0
        for prompt in _prompts(given):
            key = repr(prompt)
            if key not in prompts:
                prompts[key] = {"prompt": prompt}
                taken += 1
            if taken == count:
                break
        if not taken:
            raise SystemExit(f"{given}: no prompt in it that is not in the inputs before it")
        print(f"{given}: {taken} prompts", flush=True)
    write_lines(output, prompts.values())


def _prompts(given: str) -> Iterator[list[dict[str, str]]]:
    location, _, split = (given, "", "") if Path(given).exists() else given.partition("@")
    source = open_source(location, split=split or None)
    layout = detect(source.schema, first_records(source))
    for row in (row for batch in read_rows(source, layout, 256) for row in batch):
        if not isinstance(row, RejectedRow):
            prompt = [dict(message) for message in row.prompt if not isinstance(message, str)]
            if prompt:
                yield prompt


def make_pairs(prompts: Path, settings: Settings, device: str, output: Path) -> None:
    """``pairs.jsonl``: of ``answers`` answers to each prompt the best and the worst by mean token reward.

    Raises:
        SystemExit: there is no prompt whose answers differ in reward.
    """
    if output.exists():
        return
    asked = [entry["prompt"] for entry in read_lines(prompts)]
    base, tokenizer = load_base(device, settings.policy)
    policy = Policy(base, tokenizer, settings.rank, settings.layers)
    ids = [_prompt_ids(tokenizer, prompt) for prompt in asked for _ in range(settings.answers)]
    torch.manual_seed(SEED)
    texts = [one.text for one in policy.sample(ids, settings.new_tokens, settings.temperature)]
    del policy, base
    scorer = load_scorer(settings.scorer, scoring=ScoringConfig(device=device))
    repeated = [prompt for prompt in asked for _ in range(settings.answers)]
    rewards = mean_rewards(scorer, repeated, texts)
    pairs = []
    for place, prompt in enumerate(asked):
        some = range(place * settings.answers, (place + 1) * settings.answers)
        known = sorted((reward, texts[i]) for i in some if (reward := rewards[i]) is not None)
        if known and known[0][0] < known[-1][0]:
            sides = {"chosen": known[-1][1], "rejected": known[0][1]}
            pairs.append({"prompt": prompt, **{s: [{"role": "assistant", "content": t}] for s, t in sides.items()}})
    if not pairs:
        raise SystemExit(f"none of {len(asked)} prompts has answers of different reward: more --answers or --prompts")
    print(f"{len(pairs)} pairs from {len(texts)} answers to {len(asked)} prompts", flush=True)
    write_lines(output, pairs)


def _prompt_ids(tokenizer: Any, prompt: list[dict[str, str]]) -> list[int]:
    text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def make_bundle(pairs: Path, settings: Settings, device: str, annotated: Path, bundle: Path) -> None:
    """Masks by ``asr-annotate run``, and from them what the training study reads."""
    if (bundle / "train.parquet").exists():
        return
    program = [sys.executable, "-c", "from asr_data_cli.app import main; main()"]
    options = ["--model", settings.scorer, "--tokenizer", settings.policy, "--device", device, "--overwrite"]
    if not (annotated / "asr.json").is_file():
        done = subprocess.run([*program, "run", str(pairs), "-o", str(annotated), *options])
        if done.returncode:
            raise SystemExit(f"asr-annotate run {pairs} ended with status {done.returncode}")
    write_pairs(bundle, "held_out", [])
    write_pairs(bundle, "train", list(annotated_pairs(annotated)))


def make_checkpoints(bundle: Path, settings: Settings, methods: Sequence[str], device: str, work: Path) -> None:
    """A checkpoint in ``work/checkpoints`` for each method, and its ``work/trained/METHOD.json``."""
    missing = [name for name in methods if not (work / "trained" / f"{name}.json").exists()]
    if not missing:
        return
    study = Study(bundle, settings, device)
    if not study.train:
        raise SystemExit(f"{bundle}: no pair is as short as --max-length {settings.max_length}")
    for name in missing:
        torch.manual_seed(SEED)
        policy = Policy(study.base, study.tokenizer, settings.rank, settings.layers)
        curve = [] if name == "base" else study.fit(policy, METHODS[name], SEED).curve
        _save(policy, work / "checkpoints" / name)
        write_json(work / "trained" / f"{name}.json", {"settings": asdict(settings), "curve": curve})
        print(f"{name}: {len(curve)} steps", flush=True)


def _save(policy: Policy, folder: Path) -> None:
    """The adapter merged, all of it in bfloat16: a checkpoint that any program loads."""
    if folder.exists():
        shutil.rmtree(folder)  # half written: it has no record of its training
    model = policy.model
    model.model = policy.decoder.merge_and_unload()
    model.to(torch.bfloat16)
    model.config.use_cache = True  # TRL turns it off
    model.tie_weights()  # in training, the head had a copy of its own in float32
    with redirect_stderr(io.StringIO()):  # a bar that cannot be turned off
        model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
