"""Speed of scoring every token of a preference data set, against what people would otherwise run.

    python -m benchmarks.scoring ../shared/data/hh-rlhf/harmless-base-test.jsonl.gz [--rows 400] [--device cpu]

All methods score the same rows with the same decoder in the same dtype in one process; rewards are compared, too.
Prints Markdown; ``RESULTS.md`` keeps what was measured where. For a machine with torch and transformers alone,
``--save FILE`` writes the tokens of the rows, and ``FILE --shape 8b`` runs them through random weights of that shape.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_data.scoring.allocator import settle_memory
from asr_data.scoring.budget import default_batch_tokens
from asr_data.scoring.config import TokenHeadConfig
from asr_data.scoring.engine import Engine, Request
from asr_data.scoring.token_head import TokenHeadReadout
from asr_data.scoring.tree import grow_trees
from benchmarks.machine import processor
from benchmarks.scoring_inputs import SHAPES, branches, load_requests, random_decoder, requests_of, save_requests
from benchmarks.scoring_peers import BATCH, padded_loop, pipeline_scores, sequence_classifier, trl_rewards

REFERENCE_ROWS = 40
"""Rows scored in float32 one by one, as the reference of both ways in the model's dtype."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One method: how long it took, and a reward for every position it read."""

    name: str
    seconds: float
    rewards: list[np.ndarray]


def load(arguments: argparse.Namespace) -> tuple[Engine, Any]:
    """The engine of a scorer and its tokenizer; with ``--shape`` a random decoder and none."""
    if arguments.shape is None:
        from asr_data.config import ScoringConfig
        from asr_data.scoring.load import load_scorer

        scorer: Any = load_scorer(
            arguments.model, scoring=ScoringConfig(dtype=arguments.dtype, device=arguments.device)
        )
        return scorer.runner, scorer.tokenizer
    device = arguments.device.replace("auto", "cuda" if torch.cuda.is_available() else "cpu")
    decoder = random_decoder(arguments.shape, device, getattr(torch, arguments.dtype.replace("auto", "bfloat16")))
    head = torch.nn.Linear(SHAPES[arguments.shape]["hidden_size"], 1, device=device)
    readout = TokenHeadReadout(head, TokenHeadConfig(transform="raw"))
    return Engine(decoder, readout, batch_tokens=default_batch_tokens(decoder)), None


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """How long it took, and what came out."""
    started = time.perf_counter()
    answer = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, answer


def timed(name: str, run: Callable[[], list[np.ndarray]]) -> Measured:
    """Run once."""
    return Measured(name, *seconds(run))


def readings(engine: Engine, requests: Sequence[Request]) -> list[np.ndarray]:
    """What the engine says, where memory did not run out."""
    return [r for r in engine.run(requests) if r is not None]


@torch.inference_mode()
def dense_tokens_per_second(engine: Engine, width: int) -> float:
    """The best of several batch sizes of full rows, causal, without a mask: what this decoder can reach."""
    parameter = next(engine.backbone.parameters())
    vocabulary = engine.backbone.config.get_text_config().vocab_size  # type: ignore[union-attr, operator]
    best = 0.0
    for rows in sorted({max(1, engine.batch_tokens // width // k) for k in (1, 2, 4)}):
        ids = torch.randint(0, vocabulary, (rows, width), device=parameter.device)
        for _ in range(4):
            took, _ = seconds(partial(engine.backbone, input_ids=ids, use_cache=False))
            best = max(best, rows * width / took)
    return best


def apart(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> str:
    """The largest and the mean difference of two sets of rewards."""
    difference = np.abs(np.concatenate(one) - np.concatenate(other))
    return f"{difference.max():.2g} / {difference.mean():.2g}"


def unique(engine: Engine, requests: Sequence[Request]) -> tuple[int, int, int]:
    """Tokens when each row shares its prompt, when all rows share all they can, and those that the plan computes."""
    every = [r.ids for r in requests]
    by_row = sum(len(t.ids) for i in range(0, len(every), 2) for t in grow_trees(every[i : i + 2], lambda *_: True))
    in_all = sum(len(t.ids) for t in grow_trees(every, lambda *_: True))
    return by_row, in_all, sum(len(t.ids) for t in grow_trees(every, engine.joins))


def report_rows(engine: Engine, requests: Sequence[Request]) -> None:
    """The table on real rows, and the limit."""
    written = sum(len(r.ids) for r in requests)
    by_row, in_all, planned = unique(engine, requests)
    plain = Engine(engine.backbone, engine.readout, batch_tokens=engine.batch_tokens, share=False)
    by_length = sorted(range(len(requests)), key=lambda i: -len(requests[i].ids))
    some = [*requests[:BATCH], *(requests[i] for i in by_length[:4])]  # long and short: what is compiled sees both
    warm_up, _ = seconds(lambda: (engine.run(some), engine.run(some[: BATCH // 2]), plain.run(some)))
    padded_loop(engine, requests[:BATCH], range(BATCH))
    width = round(statistics.mean(len(t.ids) for t in grow_trees([r.ids for r in requests], engine.joins)))
    ours = timed("asr-data, token tree", lambda: readings(engine, requests))
    limit = dense_tokens_per_second(engine, width)
    in_order = range(len(requests))
    peers = [
        timed("the usual loop: padded batch of 16, file order", lambda: padded_loop(engine, requests, in_order)),
        timed("the same loop, sorted by length", lambda: padded_loop(engine, requests, by_length)),
        timed("asr-data, every sequence by itself", lambda: readings(plain, requests)),
    ]
    print(
        f"\n{len(requests) // 2} rows, {written:,} tokens written out, {by_row:,} unique within rows, {in_all:,} "
        f"unique in all, {planned:,} computed; attention: {engine.attention}; {engine.batch_tokens:,} positions a "
        f"batch; warm-up {warm_up:.0f} s.\n"
    )
    print("| method | seconds | tokens/s (written out) | × as long as ours | rewards: largest / mean difference |")
    print("|---|---:|---:|---:|---:|")
    for one in [ours, *peers]:
        print(
            f"| {one.name} | {one.seconds:.1f} | {written / one.seconds:,.0f} | {one.seconds / ours.seconds:.2f} "
            f"| {apart(one.rewards, ours.rewards)} |"
        )
    print(
        f"\nDense batches of width {width}: {limit:,.0f} tokens/s. Unique tokens ÷ that: {by_row / limit:.1f} s within "
        f"rows ({by_row / limit / ours.seconds:.2f} of our time), {in_all / limit:.1f} s in all "
        f"({in_all / limit / ours.seconds:.2f}).",
        flush=True,
    )


def report_response_scores(engine: Engine, tokenizer: Any, requests: Sequence[Request]) -> None:
    """Peers that give one score a response: their speed on the first rows, against every token of them from us."""
    texts = [tokenizer.decode(request.ids) for request in requests]
    ours, _ = seconds(lambda: engine.run(requests))
    print(f"\n| one score a response, {len(requests) // 2} rows | seconds | × as long as ours (every token) |")
    print("|---|---:|---:|")
    with sequence_classifier(engine, tokenizer) as (folder, model):
        for name, run in (
            ("`pipeline('text-classification')`, batches of 16", lambda: pipeline_scores(folder, model, texts)),
            ("TRL's `GRPOTrainer._calculate_rewards`, 16 a call", lambda: trl_rewards(tokenizer, model, texts)),
        ):
            took, _ = seconds(run)
            print(f"| {name} | {took:.1f} | {took / ours:.2f} |", flush=True)


def report_precision(engine: Engine, requests: Sequence[Request]) -> None:
    """How far tree and plain are from float32, in the model's dtype and in float32."""
    dtype = next(engine.backbone.parameters()).dtype
    plain = Engine(engine.backbone, engine.readout, batch_tokens=engine.batch_tokens, share=False)
    half = {"tree": readings(engine, requests), "one by one": readings(plain, requests)}
    engine.backbone.float()
    exact = readings(plain, requests)
    print(f"\n| {len(requests) // 2} rows, against float32 one by one | largest / mean difference |\n|---|---:|")
    for name, rewards in half.items():
        print(f"| {dtype}, {name} | {apart(rewards, exact)} |")
    print(f"| torch.float32, tree | {apart(readings(engine, requests), exact)} |", flush=True)
    engine.backbone.to(dtype)


def report_branches(engine: Engine, count: int) -> None:
    """The table on end-of-turn branches."""
    print("\n| branches: prompt, response, boundaries | tokens, prefix by prefix | tree | times fewer "
          "| seconds, prefix by prefix | tree | times faster | largest / mean difference |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for prompt, response, boundaries in ((128, 200, 20), (256, 400, 20)):
        asked = [r for part in branches(prompt, response, boundaries, count) for r in part]
        order = sorted(range(len(asked)), key=lambda i: -len(asked[i].ids))
        engine.run(asked[:boundaries])
        tree = timed("", partial(readings, engine, asked))
        loop = timed("", partial(padded_loop, engine, asked, order))
        written = sum(len(r.ids) for r in asked)
        nodes = sum(len(t.ids) for t in grow_trees([r.ids for r in asked], engine.joins))
        print(
            f"| {prompt}, {response}, {boundaries} | {written:,} | {nodes:,} | {written / nodes:.1f} "
            f"| {loop.seconds:.2f} | {tree.seconds:.2f} | {loop.seconds / tree.seconds:.1f} "
            f"| {apart(tree.rewards, loop.rewards)} |",
            flush=True,
        )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a preference data set, or what --save wrote")
    parser.add_argument("--model", default="builtin", help="a token-head scorer")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this shape instead of a scorer")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--branch-rows", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--save", type=Path, metavar="FILE.npz", help="write the rows' tokens and stop")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = parsed()
    settle_memory()
    if arguments.save is not None:
        from asr_data.scoring.load import load_scorer_tokenizer

        return save_requests(
            arguments.save, requests_of(arguments.data, arguments.rows, load_scorer_tokenizer(arguments.model))
        )
    engine, tokenizer = load(arguments)
    if not isinstance(engine.readout, TokenHeadReadout):
        sys.exit("this benchmark reads a token head")
    if tokenizer is None:
        requests = load_requests(arguments.data, arguments.rows)
    else:
        requests = requests_of(arguments.data, arguments.rows, tokenizer)
    parameter = next(engine.backbone.parameters())
    where = (
        torch.cuda.get_device_name()
        if parameter.device.type == "cuda"
        else f"{processor()}, {torch.get_num_threads()} threads"
    )
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"{where}; Python {sys.version.split()[0]}, {versions}; {parameter.dtype}; {today}.")
    print(f"`python -m benchmarks.scoring {' '.join(sys.argv[1:])}`")
    report_rows(engine, requests)
    report_branches(engine, arguments.branch_rows)
    if tokenizer is not None:
        report_response_scores(engine, tokenizer.hf, requests[: 4 * BATCH])
    report_precision(engine, requests[: 2 * REFERENCE_ROWS])
    return None


if __name__ == "__main__":
    main()
