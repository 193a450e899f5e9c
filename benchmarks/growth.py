"""Time per row and peak memory of ``score`` for 1,000, 10,000 and 100,000 rows: both must stay flat.

    python -m benchmarks.growth [--rows 1000 10000 100000] [--rounds 5] [--model MODEL] [--folder DIR]

Rows have fresh prompts, so that nothing is shared between them but the template. Without ``--model`` the scorer is a
decoder of two small layers, so that what grows is not hidden behind the model. Each size is a process of its own in
every round (:mod:`benchmarks.rounds`), and has shards enough for reading ahead to show.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.memory import tokenizer
from benchmarks.rounds import ROUNDS, Rounds, Sample, Spread, interleave, reported

WORDS = ("the", "of", "and", "to", "in", "is", "that", "it", "was", "for", "on", "are", "as", "with", "his", "they")


def write_rows(path: Path, count: int) -> None:
    """Pairs of 20 to 80 words a side, drawn by row number."""
    import random

    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            rng = random.Random(number)  # noqa: S311 - not for secrets
            sides = {side: " ".join(rng.choices(WORDS, k=rng.randint(20, 80))) for side in ("chosen", "rejected")}
            file.write(json.dumps({"prompt": f"{number}: {' '.join(rng.choices(WORDS, k=10))}", **sides}) + "\n")


def tiny_scorer(directory: Path) -> None:
    """A random decoder with a head, of two small layers."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaModel

    own = tokenizer().hf
    own.save_pretrained(directory)
    config = LlamaConfig(
        vocab_size=len(own),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
    )
    torch.manual_seed(0)
    model = LlamaModel(config)
    config.save_pretrained(directory)
    tensors = {f"model.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(
        {**tensors, "score.weight": torch.randn(1, 64)}, directory / "model.safetensors", metadata={"format": "pt"}
    )
    (directory / "asr_scorer.json").write_text('{"kind": "token_head"}', encoding="utf-8")


def child(model: str, source: Path, output: Path) -> None:
    """Score once; print seconds, CPU seconds, seconds in the model and peak resident MiB."""
    from asr_data import pipeline
    from asr_data.config import OutputConfig
    from asr_data.rows import detect, first_records, open_source
    from asr_data.scoring.allocator import settle_memory
    from asr_data.scoring.load import load_scorer

    settle_memory()
    scorer: Any = load_scorer(model)
    engine, inside = scorer.runner, 0.0
    forward = engine._forward

    def timed(*arguments: Any) -> Any:
        nonlocal inside
        started = time.perf_counter()
        answer = forward(*arguments)
        inside += time.perf_counter() - started
        return answer

    engine._forward = timed
    rows = open_source(source)
    layout = detect(rows.schema, first_records(rows))
    started, cpu = time.perf_counter(), time.process_time()
    pipeline.score(rows, layout, output, scorer, writing=OutputConfig(shard_rows=200))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    unit = 2**20 if sys.platform == "darwin" else 2**10
    print(seconds, cpu, inside, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def score(model: str, folder: Path, count: int) -> Sample:
    """One size in a process of its own; the answer is the seconds in the model and the peak in MiB."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        command = [sys.executable, "-m", "benchmarks.growth", "--child", model]
        command += [str(folder / f"{count}.jsonl"), f"{output}/out"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, cpu, inside, peak = map(float, done.stdout.split()[-4:])
    return Sample(seconds, cpu, (inside, peak))


def report(measured: Rounds, sizes: Sequence[int]) -> None:
    """The table; a ratio is of the time a row takes, by the smallest size's."""
    print("| rows | ms per row | CPU ms per row | CPU, × the first | outside of the model | peak memory, MiB |")
    print("|---:|---:|---:|---:|---:|---:|")
    first = str(sizes[0])
    for count in sizes:

        def figure(read: Callable[[Sample], float], name: str = str(count)) -> Spread:
            return measured.of(lambda one: read(one[name]))

        ratio = measured.cpu_ratio(str(count), first)
        share = sizes[0] / count
        per_row = 1000 / count
        cells = [
            f"{measured.wall(str(count)).times(per_row):.2f}",
            f"{measured.cpu(str(count)).times(per_row):.2f}",
            f"{ratio.times(share):.2f}",
            f"{figure(lambda one: float(1 - one.answer[0] / one.wall)):.1%}",
            f"{figure(lambda one: float(one.answer[1])):.0f}",
        ]
        print(f"| {count:,} | {' | '.join(cells)} |")


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--model")
    parser.add_argument("--folder", type=Path, help="keep the rows and the rounds here; go on there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        model = options.model or str(folder / "tiny")
        if options.model is None and not Path(model).exists():
            tiny_scorer(Path(model))
        for count in options.rows:
            write_rows(folder / f"{count}.jsonl", count)
        methods = {str(count): partial(score, model, folder, count) for count in options.rows}
        report(interleave(methods, options.rounds, reported, options.folder and folder / "rounds.jsonl"), options.rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
