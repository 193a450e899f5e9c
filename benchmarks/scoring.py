"""Speed of scoring every token of a preference data set, against what people would otherwise run.

    python -m benchmarks.scoring ../shared/data/hh-rlhf/harmless-base-test.jsonl.gz [--rows 400] [--device cpu]

All methods score the same rows with the same decoder in the same dtype in one process; rewards are compared, too.
Prints Markdown; ``RESULTS.md`` keeps what was measured where.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_data.config import ScoringConfig
from asr_data.rows import detect, first_records, open_source, read_rows
from asr_data.scoring.engine import Engine, Request, pad
from asr_data.scoring.load import load_scorer
from asr_data.scoring.token_head import TokenHeadReadout, encode_tokens
from asr_data.scoring.tree import grow_trees
from asr_data.types import Row
from benchmarks.segments import processor

BATCH = 16


@dataclass(frozen=True, slots=True)
class Measured:
    """One method: how long it took, and a reward for every position it read."""

    name: str
    seconds: float
    rewards: list[np.ndarray]


def load(arguments: argparse.Namespace) -> tuple[Engine, Any]:
    """The engine of a scorer and its tokenizer; ``--random`` gives a decoder of that shape with random weights."""
    scoring = ScoringConfig(dtype=arguments.dtype, device=arguments.device)
    scorer: Any = load_scorer(arguments.model, scoring=scoring)
    return scorer.runner, scorer.tokenizer


def requests_of(path: str, rows: int, tokenizer: Any) -> list[Request]:
    """Every token of both sides of the first rows, in file order."""
    source = open_source(path)
    layout = detect(source.schema, first_records(source))
    read = [row for batch in read_rows(source, layout, rows, 0, rows) for row in batch if isinstance(row, Row)]
    return [request for row in read for reading in encode_tokens(row, tokenizer) for request in reading.requests]


def timed(name: str, run: Callable[[], list[np.ndarray]]) -> Measured:
    """Run once."""
    started = time.perf_counter()
    rewards = run()
    return Measured(name, time.perf_counter() - started, rewards)


@torch.inference_mode()
def padded_loop(engine: Engine, requests: Sequence[Request], order: Sequence[int]) -> list[np.ndarray]:
    """Batches of 16 sequences, each written out in full and padded to the longest of its batch."""
    device = next(engine.backbone.parameters()).device
    out: list[np.ndarray] = [np.zeros(0)] * len(requests)
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        ids, attention = pad([requests[i].ids for i in batch])
        states = engine.backbone(
            input_ids=ids.to(device), attention_mask=attention.to(device), use_cache=False
        ).last_hidden_state
        rewards = engine.readout(states.flatten(0, 1), None).reshape(ids.shape).float().cpu()
        for row, i in zip(rewards, batch, strict=True):
            out[i] = row[requests[i].read].numpy()
    return out


@torch.inference_mode()
def dense_tokens_per_second(engine: Engine, width: int, budget: int) -> float:
    """The best of several batch sizes of full rows, causal, without a mask: what this decoder can reach."""
    device = next(engine.backbone.parameters()).device
    vocabulary = engine.backbone.config.get_text_config().vocab_size  # type: ignore[union-attr, operator]
    best = 0.0
    for rows in sorted({max(1, budget // width // k) for k in (1, 2, 4)}):
        ids = torch.randint(0, vocabulary, (rows, width), device=device)
        for _ in range(3):
            started = time.perf_counter()
            engine.backbone(input_ids=ids, use_cache=False).last_hidden_state.sum().item()
            best = max(best, rows * width / (time.perf_counter() - started))
    return best


def pipeline_classification(engine: Engine, tokenizer: Any, requests: Sequence[Request]) -> Measured:
    """transformers' ``pipeline("text-classification")`` at batch size 16: one score a response, not one a token."""
    from transformers import AutoModelForSequenceClassification, pipeline

    config: Any = engine.backbone.config
    with tempfile.TemporaryDirectory() as folder:
        config.num_labels, config.pad_token_id = 1, tokenizer.hf.pad_token_id or 0
        model = AutoModelForSequenceClassification.from_config(config, dtype=next(engine.backbone.parameters()).dtype)
        model.base_model.load_state_dict(engine.backbone.state_dict())
        model.save_pretrained(folder)
        tokenizer.hf.save_pretrained(folder)
        run = pipeline(
            "text-classification",
            model=folder,
            tokenizer=folder,
            dtype=model.dtype,
            device=next(model.parameters()).device,
        )
        texts = [tokenizer.hf.decode(request.ids) for request in requests]
        return timed(
            "pipeline('text-classification'), batch of 16",
            lambda: [np.array([r["score"]]) for r in run(texts, batch_size=BATCH, function_to_apply="none")],
        )


def apart(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> str:
    """The largest and the mean difference of two sets of rewards."""
    difference = np.abs(np.concatenate(one) - np.concatenate(other))
    return f"{difference.max():.2g} / {difference.mean():.2g}"


def branches(prompt: int, response: int, boundaries: int, count: int, seed: int = 0) -> Iterator[list[Request]]:
    """Responses whose every prefix is closed by an end of turn and read there."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        ids = rng.integers(1, 40_000, prompt + response).tolist()
        cuts = np.linspace(response / boundaries, response, boundaries).round().astype(int).tolist()
        yield [Request([*ids[: prompt + cut], 2], [prompt + cut]) for cut in cuts]


def report_rows(engine: Engine, tokenizer: Any, arguments: argparse.Namespace) -> None:
    """The table on real rows."""
    requests = requests_of(arguments.data, arguments.rows, tokenizer)
    written = sum(len(r.ids) for r in requests)
    unique = sum(len(t.ids) for t in grow_trees([r.ids for r in requests], lambda *_: True))
    by_row = sum(
        len(t.ids)
        for i in range(0, len(requests), 2)
        for t in grow_trees([r.ids for r in requests[i : i + 2]], lambda *_: True)
    )
    plain = Engine(engine.backbone, engine.readout, batch_tokens=engine.batch_tokens, share=False)
    engine.run(requests[:8])  # warm up
    by_length = sorted(range(len(requests)), key=lambda i: -len(requests[i].ids))
    ours = timed("asr-data, token tree", lambda: [r for r in engine.run(requests) if r is not None])
    peers = [
        timed(
            "usual loop: padded batch of 16, file order", lambda: padded_loop(engine, requests, range(len(requests)))
        ),
        timed("the same loop, sorted by length", lambda: padded_loop(engine, requests, by_length)),
        timed("asr-data, every sequence by itself", lambda: [r for r in plain.run(requests) if r is not None]),
    ]
    width = round(statistics.mean(len(t.ids) for t in grow_trees([r.ids for r in requests], engine.joins)))
    limit = dense_tokens_per_second(engine, width, engine.batch_tokens)
    print(
        f"\n{len(requests) // 2} rows, {written:,} tokens written out, {by_row:,} unique within rows, {unique:,} "
        f"unique in all; attention: {engine.attention}.\n"
    )
    print("| method | seconds | tokens/s (written out) | × as long as ours | rewards: largest / mean difference |")
    print("|---|---:|---:|---:|---:|")
    for one in [ours, *peers]:
        print(
            f"| {one.name} | {one.seconds:.1f} | {written / one.seconds:,.0f} | {one.seconds / ours.seconds:.2f} "
            f"| {apart(one.rewards, ours.rewards)} |"
        )
    few = requests[: 4 * BATCH]
    classified = pipeline_classification(engine, tokenizer, few)
    mine = timed("", lambda: [r for r in engine.run(few) if r is not None])
    rate = sum(len(r.ids) for r in few) / classified.seconds
    print(
        f"| {classified.name}, {len(few) // 2} rows | {classified.seconds:.1f} | {rate:,.0f} "
        f"| {classified.seconds / mine.seconds:.2f} | one score a response |"
    )
    print(
        f"\nDense batches of width {width}: {limit:,.0f} tokens/s. Unique tokens ÷ that: {by_row / limit:.1f} s within "
        f"rows ({by_row / limit / ours.seconds:.2f} of our time), {unique / limit:.1f} s in all "
        f"({unique / limit / ours.seconds:.2f})."
    )


def report_branches(engine: Engine, arguments: argparse.Namespace) -> None:
    """The table on end-of-turn branches."""
    print("\n| branches: prompt, response, boundaries | tokens, prefix by prefix | tree | times fewer "
          "| seconds, prefix by prefix | tree | times faster | largest difference |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for prompt, response, boundaries in ((128, 200, 20), (256, 400, 20)):
        asked = [r for part in branches(prompt, response, boundaries, arguments.branch_rows) for r in part]
        order = sorted(range(len(asked)), key=lambda i: -len(asked[i].ids))
        tree = timed("", lambda asked=asked: [r for r in engine.run(asked) if r is not None])
        loop = timed("", lambda asked=asked, order=order: padded_loop(engine, asked, order))
        written = sum(len(r.ids) for r in asked)
        nodes = sum(len(t.ids) for t in grow_trees([r.ids for r in asked], engine.joins))
        print(
            f"| {prompt}, {response}, {boundaries} | {written:,} | {nodes:,} | {written / nodes:.1f} "
            f"| {loop.seconds:.1f} | {tree.seconds:.1f} | {loop.seconds / tree.seconds:.1f} "
            f"| {apart(tree.rewards, loop.rewards)} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a preference data set")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--branch-rows", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    engine, tokenizer = load(arguments)
    if not isinstance(engine.readout, TokenHeadReadout):
        sys.exit("this benchmark reads a token head")
    parameter = next(engine.backbone.parameters())
    where = (
        torch.cuda.get_device_name()
        if parameter.device.type == "cuda"
        else f"{processor()}, {torch.get_num_threads()} threads"
    )
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"{where}; Python {sys.version.split()[0]}, {versions}; {parameter.dtype}; {today}.")
    print(f"`{Path(sys.argv[0]).stem} {' '.join(sys.argv[1:])}`")
    report_rows(engine, tokenizer, arguments)
    report_branches(engine, arguments)


if __name__ == "__main__":
    main()
