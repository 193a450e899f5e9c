"""Peak memory and seconds of loading a large reward model and scoring eight short rows with it.

    python -m benchmarks.large_model DIR [--shape 7b] [--kinds prm logprobs adapter train] [--dtype bfloat16]
        [--device cpu]

DIR takes a random checkpoint of the shape (15 GB at 7b), which is used again; delete it afterwards. Each kind is a
process of its own: a process reward model, a language model for ``--logprobs``, the reward model with an adapter that
is merged, and ``train-scorer`` of a new adapter. Peaks are the process's resident high-water mark, everything included,
and its anonymous part, which leaves out files that are mapped; the bound is the weights in the number format of the
run × 1.10 + 1 GiB. To see what an earlier version took, run this file with that version on ``PYTHONPATH``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

KINDS: Final = ("prm", "logprobs", "adapter", "train")
_GIB: Final = 2**30


def rows() -> list[Any]:
    """Eight pairs of two short steps."""
    from asr_data.types import Completion, Row

    found = []
    for number in range(8):
        sides = (f"Add {number} and 4.\n\nIt is {number + 4}.", f"Add {number} and 4.\n\nIt is {number + 5}.")
        completions = tuple(
            Completion(side, text, preferred=side == "chosen")  # type: ignore[arg-type] # the two sides by name
            for side, text in zip(("chosen", "rejected"), sides, strict=True)
        )
        found.append(Row(number, {}, f"What is {number} + 4?", completions))
    return found


def status() -> dict[str, float]:
    """Memory of this process in GiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    pairs = dict(line.split(":", 1) for line in lines)
    return {name: int(pairs[name].split()[0]) * 1024 / _GIB for name in ("VmHWM", "RssAnon")}


class AnonymousPeak(threading.Thread):
    """The most anonymous memory that was seen, looking every 20 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            self.peak = max(self.peak, status()["RssAnon"])
            time.sleep(0.02)


def load(kind: str, directory: Path, dtype: Any, device: str) -> tuple[Any, int]:
    """The model, ready to run, and how many numbers it has."""
    from asr_data import load_scorer
    from asr_data.config import ScoringConfig

    scoring = ScoringConfig(dtype=dtype, device=device)
    if kind == "logprobs":
        from asr_data.scoring.reference import load_reference

        reference = load_reference(directory / "lm", scoring)
        engine: Any = reference.engine
        return reference, _size(engine.backbone) + _size(engine.readout)
    preset = "qwen2.5-math-prm" if kind == "prm" else None
    scorer: Any = load_scorer(directory / kind, preset=preset, scoring=scoring)
    return scorer, _size(scorer.runner.backbone) + _size(scorer.runner.readout)


def _size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def score(kind: str, model: Any) -> None:
    """Eight rows."""
    if kind == "logprobs":
        from asr_data.text.align import align

        found = model.log_probabilities([align(row, model.tokenizer) for row in rows()])
        assert all(row is not None for row in found)
    else:
        assert all(isinstance(answer, tuple) for answer in model.score(rows()))


def train(directory: Path, output: Path) -> int:
    """One step of ``train-scorer`` on two pairs; how many numbers the base has."""
    from asr_data.progress import Silent
    from asr_data.training.config import TrainingConfig
    from asr_data.training.run import train_scorer

    source = output.parent / "pairs.jsonl"
    texts = [(row.prompt, *(completion.content for completion in row.completions)) for row in rows()[:4]]
    records = [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in texts]
    source.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    config = TrainingConfig(
        sources=(str(source),),  # type: ignore[arg-type] # parsed
        base=str(directory / "base"),
        max_tokens=64,
        batch_tokens=64,
        micro_batch_tokens=64,
        held_out=0.25,
    )
    train_scorer(config, output, resume=False, progress=Silent())
    from asr_data.scoring.weights import shapes

    return sum(math.prod(shape) for shape in shapes(directory / "base", pickles=False).values())


def child(kind: str, directory: Path, dtype: str, device: str) -> None:
    """Load and score, then print the figures as JSON."""
    import torch

    from asr_data.scoring.allocator import settle_memory

    settle_memory()
    anonymous = AnonymousPeak()
    anonymous.start()
    begin = time.perf_counter()
    if kind == "train":
        with tempfile.TemporaryDirectory(dir=directory) as output:
            numbers = train(directory, Path(output) / "scorer")
        loaded = done = time.perf_counter() - begin
    else:
        model, numbers = load(kind, directory, dtype, device)
        loaded = time.perf_counter() - begin
        score(kind, model)
        done = time.perf_counter() - begin
    weights = numbers * getattr(torch, dtype).itemsize / _GIB
    figures = {"weights": weights, "peak": status()["VmHWM"], "anonymous": anonymous.peak}
    print(json.dumps({**figures, "load": loaded, "score": done - loaded}))


def measured(kind: str, directory: Path, dtype: str, device: str) -> str:
    """A line of the table; what fails is said there."""
    command = [sys.executable, __file__, "--child", kind, str(directory), dtype, device]
    # A cache of its own: no hash is remembered.
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "XDG_CACHE_HOME": cache}
        )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        return f"| {kind} | – | – | – | – | – | ended with code {done.returncode} {last[0][:200]} |"
    found = json.loads(done.stdout.strip().splitlines()[-1])
    bound = 1.1 * found["weights"] + 1
    sizes = " | ".join(f"{found[name]:.2f}" for name in ("weights", "peak", "anonymous"))
    fits = "yes" if found["peak"] <= bound else "no"
    return f"| {kind} | {sizes} | {bound:.2f} | {fits} | {found['load']:.0f} + {found['score']:.0f} |"


def main() -> None:
    """Make the checkpoint where it is not there, and measure each kind."""
    from benchmarks.large_checkpoint import SHAPES, make

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    make(options.directory, options.shape)
    print("| kind | weights, GiB | peak, GiB | of it anonymous | bound, GiB | within | seconds, load + score |")
    print("|---|---:|---:|---:|---:|---|---:|", flush=True)
    for kind in options.kinds:
        print(measured(kind, options.directory, options.dtype, options.device), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5])
    else:
        main()
