"""A model at a vLLM server on this machine against our own engine: the same rewards, and how fast.

    ASR_DATA_VLLM=VENV/bin/python python -m benchmarks.served ../shared/data/hh-rlhf/harmless-base-test.jsonl.gz

Both score the same rows with SmolLM2 in the same number format and with as many threads, one after the other: tokens'
log-probabilities by ``prompt_logprobs``, rewards of a random token head by ``/pooling``, and, with steps, label tokens.
Tokens a second are of the sequences as they are written out, shared prefixes and all. Prints Markdown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_data.config import ScoringConfig
from asr_data.engines import EngineSettings, served_models
from asr_data.rows import detect, first_records, open_source, read_rows
from asr_data.scoring.config import ScorerConfig, parse_config
from asr_data.scoring.load import load_scorer
from asr_data.scoring.model_scorer import ModelScorer
from asr_data.types import RejectedRow, Row
from benchmarks.machine import processor
from benchmarks.vllm_server import HEAD, save_models, serving

STEPS = {"split": "\n\n", "read": "last_token_of_step"}
KINDS: dict[str, Any] = {
    "logp": {"kind": "logp"},
    "lm_label_tokens": {"kind": "lm_label_tokens", "good": " Yes", "bad": " No", "steps": STEPS},
    "token_head": HEAD,
}
LENGTH = 1024


def rows_of(path: Path, count: int) -> list[Row]:
    """The first rows of a data set that can be read."""
    source = open_source(path)
    layout = detect(source.schema, first_records(source))
    read = next(read_rows(source, layout, count, 0, count), [])
    return [row for row in read if isinstance(row, Row)]


def scored(scorer: ModelScorer, rows: Sequence[Row]) -> tuple[np.ndarray, int, float]:
    """Rewards of all spans, tokens of all sequences, and seconds; rejected rows are left out on both sides."""
    tokens = 0

    def count(done: int) -> None:
        nonlocal tokens
        tokens += done

    started = time.perf_counter()
    answers = scorer.score(rows, count)
    seconds = time.perf_counter() - started
    spans = [side.span_reward for one in answers if not isinstance(one, RejectedRow) for side in one]
    return np.concatenate(spans).astype(np.float64), tokens, seconds


def line(kind: str, model: Path, url: str, rows: Sequence[Row], scoring: ScoringConfig) -> str:
    """One line of the table."""
    config: ScorerConfig = parse_config(KINDS[kind])
    engines = served_models([url], [], EngineSettings(check="server", bound=1.0))
    own: Any = load_scorer(model, config=config, scoring=scoring)
    served: Any = load_scorer(model, config=config, scoring=scoring, engines=engines)
    served.score(rows[:2])  # the check, and warm
    own.score(rows[:2])
    mine, tokens, seconds = scored(own, rows)
    theirs, asked, waited = scored(served, rows)
    assert (len(mine), tokens) == (len(theirs), asked)
    difference = np.abs(mine - theirs)
    relative = float(np.sqrt((difference**2).mean()) / mine.std())
    call = served.info.settings["engine"]["asked"]
    return (
        f"| {kind} | {call} | {len(mine):,} | {difference.max():.2g} | {relative:.2%} | {tokens:,} | "
        f"{tokens / seconds:,.0f} | {tokens / waited:,.0f} | {waited / seconds:.2f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--log", type=Path, help="keep what the server prints")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = rows_of(arguments.data, arguments.rows)
    scoring = ScoringConfig(dtype=arguments.dtype, device="cpu", max_length=LENGTH)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    print(f"{processor()}, {arguments.threads} threads; {versions}; {arguments.dtype}; {date.today()}.")
    print(f"`served {arguments.data} --rows {arguments.rows} --dtype {arguments.dtype}`\n")
    print(
        "| kind | call | rewards | largest difference | of their spread | tokens | ours, tokens/s | vLLM, tokens/s | "
        "× our time |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        language, reward = save_models(Path(folder), arguments.dtype)
        plans: list[tuple[Path, tuple[str, ...], list[str]]] = [
            (language, ("logp", "lm_label_tokens"), []),
            (reward, ("token_head",), ["--runner", "pooling"]),
        ]
        for model, known, options in plans:
            kinds = [kind for kind in known if kind in arguments.kinds]
            if not kinds:
                continue
            more = ["--dtype", arguments.dtype, "--max-model-len", str(LENGTH + 1), *options]
            log = arguments.log or Path(folder) / "server.log"
            with serving(model, more, log, threads=arguments.threads) as url:
                for kind in kinds:
                    print(line(kind, model, url, rows, scoring), flush=True)


if __name__ == "__main__":
    main()
