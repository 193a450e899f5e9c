"""Speed of scoring every token of a preference data set, against what people would otherwise run.

    python -m benchmarks.scoring ../shared/data/hh-rlhf/harmless-base-test.jsonl.gz [--rows 64] [--rounds 5]

All methods score the same rows with the same decoder in the same dtype in one process, in turn, in every round
(:mod:`benchmarks.rounds`); rewards are compared, too.
Prints Markdown; ``RESULTS.md`` keeps what was measured where. For a machine with torch and transformers alone,
``--save FILE`` writes the tokens of the rows, and ``FILE --shape 8b`` runs them through random weights of that shape.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import sys
from collections.abc import Sequence
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
from benchmarks.rounds import ROUNDS, Method, Rounds, interleave
from benchmarks.scoring_inputs import SHAPES, branches, load_requests, random_decoder, requests_of, save_requests
from benchmarks.scoring_peers import BATCH, padded_loop, pipeline_scores, sequence_classifier, trl_rewards

REFERENCE_ROWS = 40
"""Rows scored in float32 one by one, as the reference of both ways in the model's dtype."""


OURS = "asr-data, token tree"
LOOP = "the usual loop: padded batch of 16, file order"
SORTED = "the same loop, sorted by length"
ALONE = "asr-data, every sequence by itself"
WIDTHS = (128, 256, 512, 1024)
"""Of the dense batches that say what the decoder can reach."""


def load(arguments: argparse.Namespace) -> tuple[Engine, Any]:
    """The engine of a scorer and its tokenizer; with ``--shape`` a random decoder and none."""
    from asr_data.scoring.decoder import pick_device, pick_dtype

    if arguments.model is not None:
        from asr_data.config import ScoringConfig
        from asr_data.scoring.load import load_scorer

        scorer: Any = load_scorer(
            arguments.model, scoring=ScoringConfig(dtype=arguments.dtype, device=arguments.device)
        )
        return scorer.runner, scorer.tokenizer
    device = pick_device(arguments.device)
    dtype = pick_dtype(arguments.dtype, device)
    tokenizer = None
    if arguments.shape is None:
        from asr_data.scoring.backbone import load_packaged
        from asr_data.scoring.load import load_scorer_tokenizer
        from asr_data.training.run import BUILTIN_BACKBONE

        decoder, _ = load_packaged(BUILTIN_BACKBONE, None, device, dtype, cache=True)
        tokenizer = load_scorer_tokenizer("builtin")
    else:
        decoder = random_decoder(arguments.shape, str(device), dtype)
    torch.manual_seed(0)
    head = torch.nn.Linear(decoder.config.get_text_config().hidden_size, 1, device=device)  # type: ignore[union-attr, operator] # HF models
    readout = TokenHeadReadout(head, TokenHeadConfig(transform="raw"))
    return Engine(decoder, readout, batch_tokens=default_batch_tokens(decoder)), tokenizer


def readings(engine: Engine, requests: Sequence[Request]) -> list[np.ndarray]:
    """What the engine says, where memory did not run out."""
    return [r for r in engine.run(requests) if r is not None]


@torch.inference_mode()
def dense(engine: Engine, ids: torch.Tensor) -> None:
    """One batch of full rows, causal, without a mask."""
    engine.backbone(input_ids=ids, use_cache=False)
    if ids.device.type == "cuda":
        torch.cuda.synchronize()


def dense_batches(engine: Engine) -> dict[int, torch.Tensor]:
    """Random ids ``[rows, width]`` for each of ``WIDTHS``, as many positions as a batch has."""
    parameter = next(engine.backbone.parameters())
    vocabulary = engine.backbone.config.get_text_config().vocab_size  # type: ignore[union-attr, operator]
    return {
        width: torch.randint(0, vocabulary, (max(1, engine.batch_tokens // width), width), device=parameter.device)
        for width in WIDTHS
    }


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


def row_methods(engine: Engine, requests: Sequence[Request]) -> dict[str, Method]:
    """The engine and its peers on real rows."""
    plain = Engine(engine.backbone, engine.readout, batch_tokens=engine.batch_tokens, share=False)
    by_length = sorted(range(len(requests)), key=lambda i: -len(requests[i].ids))
    return {
        OURS: partial(readings, engine, requests),
        LOOP: partial(padded_loop, engine, requests, range(len(requests))),
        SORTED: partial(padded_loop, engine, requests, by_length),
        ALONE: partial(readings, plain, requests),
    }


def report_rows(engine: Engine, requests: Sequence[Request], rounds: int) -> None:
    """The table on real rows, and the limit."""
    written = sum(len(r.ids) for r in requests)
    by_row, in_all, planned = unique(engine, requests)
    methods = row_methods(engine, requests)
    batches = dense_batches(engine)
    limits: dict[str, Method] = {f"dense {width}": partial(dense, engine, ids) for width, ids in batches.items()}
    for method in row_methods(engine, requests[:BATCH]).values():
        method()  # warms up
    for method in limits.values():
        method()
    measured = interleave({**methods, **limits}, rounds)
    print(
        f"\n{len(requests) // 2} rows, {written:,} tokens written out, {by_row:,} unique within rows, {in_all:,} "
        f"unique in all, {planned:,} computed; attention: {engine.attention}; {engine.batch_tokens:,} positions a "
        f"batch; {rounds} rounds.\n"
    )
    print("| method | seconds | CPU seconds | tokens/s (written out) | × as long as ours | CPU, × as long | rewards: "
          "largest / mean difference |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in methods:
        difference = apart(measured.answer(name), measured.answer(OURS))
        print(
            f"| {name} | {measured.wall(name):.1f} | {measured.cpu(name):.1f} "
            f"| {written / measured.wall(name).median:,.0f} | {measured.ratio(name, OURS):.2f} "
            f"| {measured.cpu_ratio(name, OURS):.2f} | {difference} |"
        )
    print("\n| dense batches | tokens/s | CPU: tokens a second | unique tokens within rows ÷ that, as a share of our "
          "time | of our CPU time |")  # fmt: skip
    print("|---|---:|---:|---:|---:|")
    for name, ids in zip(limits, batches.values(), strict=True):
        print(f"| {ids.shape[0]} rows of {ids.shape[1]} | {limit_cells(measured, name, ids.numel(), by_row)} |")
    sys.stdout.flush()


def limit_cells(measured: Rounds, name: str, positions: int, tokens: int) -> str:
    """Cells of one dense width: its speed, and its time for these tokens over ours, each by wall and by CPU."""
    speeds = measured.of(lambda one: positions / one[name].wall), measured.of(lambda one: positions / one[name].cpu)
    shares = (
        measured.of(lambda one: tokens / positions * one[name].wall / one[OURS].wall),
        measured.of(lambda one: tokens / positions * one[name].cpu / one[OURS].cpu),
    )
    return " | ".join([*(f"{speed:,.0f}" for speed in speeds), *(f"{share:.2f}" for share in shares)])


def report_response_scores(engine: Engine, tokenizer: Any, requests: Sequence[Request], rounds: int) -> None:
    """Peers that give one score a response: their speed on the first rows, against every token of them from us."""
    texts = [tokenizer.decode(request.ids) for request in requests]
    with sequence_classifier(engine, tokenizer) as (folder, model):
        peers: dict[str, Method] = {
            "`pipeline('text-classification')`, batches of 16": lambda: pipeline_scores(folder, model, texts),
            "TRL's `GRPOTrainer._calculate_rewards`, 16 a call": lambda: trl_rewards(tokenizer, model, texts),
        }
        measured = interleave({OURS: lambda: engine.run(requests), **peers}, rounds)
    print(f"\n| one score a response, {len(requests) // 2} rows, {rounds} rounds | seconds | CPU seconds "
          "| × as long as ours (every token) | CPU, × as long |")  # fmt: skip
    print("|---|---:|---:|---:|---:|")
    for name in measured.samples:
        print(
            f"| {name} | {measured.wall(name):.1f} | {measured.cpu(name):.1f} | {measured.ratio(name, OURS):.2f} "
            f"| {measured.cpu_ratio(name, OURS):.2f} |",
            flush=True,
        )


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


def report_branches(engine: Engine, count: int, rounds: int) -> None:
    """The table on end-of-turn branches."""
    print(f"\n| branches, {rounds} rounds: prompt, response, boundaries | tokens, prefix by prefix | tree "
          "| times fewer | seconds, prefix by prefix | tree | times faster | CPU, times faster "
          "| largest / mean difference |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for prompt, response, boundaries in ((128, 200, 20), (256, 400, 20)):
        asked = [r for part in branches(prompt, response, boundaries, count) for r in part]
        order = sorted(range(len(asked)), key=lambda i: -len(asked[i].ids))
        engine.run(asked[:boundaries])
        measured = interleave(
            {"tree": partial(readings, engine, asked), "loop": partial(padded_loop, engine, asked, order)}, rounds
        )
        written = sum(len(r.ids) for r in asked)
        nodes = sum(len(t.ids) for t in grow_trees([r.ids for r in asked], engine.joins))
        print(
            f"| {prompt}, {response}, {boundaries} | {written:,} | {nodes:,} | {written / nodes:.1f} "
            f"| {measured.wall('loop'):.2f} | {measured.wall('tree'):.2f} | {measured.ratio('loop', 'tree'):.1f} "
            f"| {measured.cpu_ratio('loop', 'tree'):.1f} | {apart(measured.answer('tree'), measured.answer('loop'))} |",
            flush=True,
        )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a preference data set, or what --save wrote")
    decoder = parser.add_mutually_exclusive_group()
    decoder.add_argument("--model", help="a token-head scorer in place of SmolLM2-135M with a random head")
    decoder.add_argument("--shape", choices=SHAPES, help="random weights of this shape instead")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--branch-rows", type=int, default=4)
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
            arguments.save,
            requests_of(arguments.data, arguments.rows, load_scorer_tokenizer(arguments.model or "builtin")),
        )
    engine, tokenizer = load(arguments)
    if not isinstance(engine.readout, TokenHeadReadout):
        sys.exit("this benchmark reads a token head")
    if arguments.data.suffix == ".npz":
        requests = load_requests(arguments.data, arguments.rows)
    else:
        from asr_data.scoring.load import load_scorer_tokenizer

        requests = requests_of(arguments.data, arguments.rows, tokenizer or load_scorer_tokenizer("builtin"))
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
    report_rows(engine, requests, arguments.rounds)
    report_branches(engine, arguments.branch_rows, arguments.rounds)
    if tokenizer is not None:
        report_response_scores(engine, tokenizer.hf, requests[: 2 * BATCH], arguments.rounds)
    report_precision(engine, requests[: 2 * REFERENCE_ROWS])
    return None


if __name__ == "__main__":
    main()
