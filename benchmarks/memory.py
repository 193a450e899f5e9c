"""Peak memory of the pipeline for N rows and for 10 N: it must not grow with the data set (DESIGN §6).

    python benchmarks/memory.py [--rows 5000] [--shard-rows 1000]

Each run is a process of its own, with a scorer that costs nothing, so that what is measured is reading, aligning,
masking and writing. Prints a Markdown table. ``ru_maxrss`` is the resident high-water mark of the process.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TARGET = 1.1
COMMANDS = ("run", "score", "mask", "validate")


def write_rows(path: Path, count: int) -> None:
    """Pairs with a prompt, some words to a side, one row in a hundred to be rejected."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            words = f"word {number} and word {number * 7919 % 10007}, as was said. "
            rejected = words if number % 100 == 0 else f"{words}Not so: it is {number % 13}."
            row = {"prompt": f"Question {number}?", "chosen": words * 2, "rejected": rejected}
            row["rejected"] = row["chosen"] if number % 100 == 0 else row["rejected"]
            file.write(json.dumps(row) + "\n")


def tokenizer() -> Any:
    """A byte-level tokenizer of single bytes and a few merges."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from asr_data.text import Tokenizer

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<eos>"])
    backend.train_from_iterator(["word and as was said it is not so question"], trainer)
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>"), "bytes")  # noqa: S106


class FreeScorer:
    """A reward for every four bytes, drawn from the text's checksum."""

    def __init__(self, own: Any) -> None:
        from asr_data.scoring.protocol import ScorerInfo

        self.tokenizer = own
        self.info = ScorerInfo("free", "rule", "value", "f" * 64)

    def score(self, rows: Sequence[Any], on_tokens: Callable[[int], None] | None = None) -> list[Any]:
        """See :class:`asr_data.scoring.protocol.Scorer`."""
        if on_tokens is not None:
            on_tokens(len(rows))
        return [tuple(self._rewards(completion.content) for completion in row.completions) for row in rows]

    @staticmethod
    def _rewards(text: str) -> Any:
        import numpy as np

        from asr_data.types import ByteRewards

        size = len(text.encode())
        ends = np.unique(np.append(np.arange(0, size, 4), size)).astype(np.int32)
        values = np.random.default_rng(zlib.crc32(text.encode())).normal(size=len(ends))
        return ByteRewards(ends, values.astype(np.float32), np.zeros(0, dtype=np.int32))


def work(command: str, source: Path, scored: Path, output: Path, shard_rows: int) -> None:
    """One command, as the command line would call it."""
    from asr_data import pipeline
    from asr_data.config import OutputConfig
    from asr_data.rows import detect, first_records, open_source
    from asr_data.storage import validate

    own = tokenizer()
    if command == "mask":
        pipeline.mask(scored, output, own)
    elif command == "validate":
        if validate(scored):
            raise SystemExit("the output is not valid")
    else:
        rows = open_source(source)
        layout, writing = detect(rows.schema, first_records(rows)), OutputConfig(shard_rows=shard_rows)
        if command == "run":
            pipeline.run(rows, layout, output, FreeScorer(own), own, writing=writing)
        else:
            pipeline.score(rows, layout, output, FreeScorer(own), writing=writing)


def measured(arguments: Sequence[str]) -> tuple[float, float]:
    """Peak resident MiB and seconds of a child process."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    peak, seconds = done.stdout.split()[-2:]
    return float(peak), float(seconds)


def child(arguments: Sequence[str]) -> None:
    """Work, then say how much memory and time it took."""
    command, source, scored, output, shard_rows = arguments
    begin = time.perf_counter()
    work(command, Path(source), Path(scored), Path(output), int(shard_rows))
    seconds = time.perf_counter() - begin
    unit = 2**20 if platform.system() == "Darwin" else 2**10
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, seconds)


def main() -> None:
    """Measure every command at both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--shard-rows", type=int, default=1_000)
    options = parser.parse_args()
    sizes = (options.rows, 10 * options.rows)
    print(f"| command | {sizes[0]:,} rows | {sizes[1]:,} rows | ratio (target {TARGET}) | rows/s |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in sizes:
            write_rows(folder / f"{size}.jsonl", size)
        for command in COMMANDS:
            peaks, seconds = [], 0.0
            for size in sizes:
                paths = (folder / f"{size}.jsonl", folder / f"score-{size}", folder / f"{command}-{size}")
                peak, seconds = measured(["--child", command, *map(str, paths), str(options.shard_rows)])
                peaks.append(peak)
            ratio, speed = peaks[1] / peaks[0], sizes[1] / seconds
            print(f"| {command} | {peaks[0]:.0f} MiB | {peaks[1]:.0f} MiB | {ratio:.2f} | {speed:,.0f} |", flush=True)


if __name__ == "__main__":
    child(sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
