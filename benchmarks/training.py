"""Steps of DPO with prompts computed once, against TRL's trainer: time, peak memory, equal losses and gradients.

    python -m benchmarks.training ../shared/data/hh-rlhf/harmless-base-test.jsonl.gz [--device cuda] [--full]

Every side trains the same model on the same batches of the same rows, in a process of its own in every round
(:mod:`benchmarks.rounds`). Prints Markdown;
``RESULTS.md`` keeps what was measured where.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import processor
from benchmarks.rounds import ROUNDS, Rounds, Sample, interleave, reported

SIDES = {
    "trl": "TRL's DPOTrainer, all tokens",
    "shared-all": "AdaptiveDPOTrainer(share_prefix=True), all tokens",
    "masked": "AdaptiveDPOTrainer, masks",
    "shared": "AdaptiveDPOTrainer(share_prefix=True), masks",
}
EQUAL = {"shared-all": "trl", "shared": "masked"}
"""Sides whose losses and gradients must be those of another."""


def prepare(arguments: argparse.Namespace, folder: Path) -> None:
    """The model as a checkpoint, and annotated rows, for all sides."""
    import datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    import asr_data
    from asr_data.rows import detect, first_records, open_source, read_rows
    from asr_data.scoring.locate import packaged_file
    from asr_data.scoring.quiet import quiet_transformers
    from asr_data.training.run import BUILTIN_BACKBONE
    from asr_data.types import Row

    path = packaged_file(BUILTIN_BACKBONE)
    with quiet_transformers(), redirect_stderr(io.StringIO()):
        given = {"gguf_file": path.name, "dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
        model = AutoModelForCausalLM.from_pretrained(path.parent, **given)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    source = open_source(arguments.data)
    layout = detect(source.schema, first_records(source))
    wanted = arguments.pairs * (arguments.steps + 1)
    records = []
    for batch in read_rows(source, layout, 2 * wanted, 0, 2 * wanted):
        for row in batch:
            if (
                isinstance(row, Row)
                and sum(len(str(c.content)) for c in row.completions) + 2 * len(str(row.prompt)) < 8000
            ):
                chosen, rejected = (list(completion.content) for completion in row.completions)
                records.append({"prompt": list(row.prompt), "chosen": chosen, "rejected": rejected})
    rows = datasets.Dataset.from_list(records[:wanted])
    asr_data.annotate(rows, asr_data.load_scorer("builtin")).save_to_disk(folder / "rows")


def train(side: str, arguments: argparse.Namespace, folder: Path) -> None:
    """One side: writes ``SIDE.json`` and its last gradients."""
    import datasets
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from asr_data.trl import AdaptiveDPOTrainer

    rows = datasets.load_from_disk(str(folder / "rows"))
    texts = ["prompt", "chosen", "rejected"]
    if side == "trl":
        rows = rows.select_columns(texts)
    elif side == "shared-all":
        masks = [f"{name}_mask" for name in texts[1:]]
        rows = rows.map(lambda row: {name: [True] * len(row[name]) for name in masks}, features=rows.features)
    seconds: list[tuple[float, float]] = []
    gradients: dict[str, torch.Tensor] = {}

    class Watch(TrainerCallback):  # type: ignore[misc] # transformers' classes are Any here
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter(), time.process_time()

        def on_pre_optimizer_step(self, _args: Any, state: Any, _control: Any, model: Any, **__: Any) -> None:
            if state.global_step == arguments.steps:
                found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
                gradients.update({n: g.detach().float().cpu().clone() for n, g in found.items()})

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if arguments.device == "cuda":
                torch.cuda.synchronize()
            wall, processor_time = self.started
            seconds.append((time.perf_counter() - wall, time.process_time() - processor_time))

    config = DPOConfig(
        str(folder / "out"),
        use_cpu=arguments.device == "cpu",
        bf16=arguments.dtype == "bfloat16",
        per_device_train_batch_size=arguments.pairs,
        max_steps=arguments.steps + 1,
        learning_rate=1e-4,
        max_grad_norm=0.0,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        activation_checkpointing=arguments.checkpointing,
    )
    kind: Any = DPOTrainer if side in ("trl",) else AdaptiveDPOTrainer
    own = {"share_prefix": True} if side.startswith("shared") else {}
    trainer = kind(
        model=str(folder / "model"),
        args=config,
        train_dataset=rows,
        peft_config=None if arguments.full else _lora(),
        callbacks=[Watch()],
        **own,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trainer.train()
    torch.save(gradients, folder / f"{side}.pt")
    cuda = arguments.device == "cuda"
    result = {
        "seconds": seconds[1:],  # the first step warms up
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "before": 0 if cuda else before * 1024,
        "peak": torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    (folder / f"{side}.json").write_text(json.dumps(result))


def _lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def side_sample(side: str, folder: Path) -> Sample:
    """One side in a process of its own: a step's median; the answer is what it wrote."""
    command = [sys.executable, "-m", "benchmarks.training", *sys.argv[1:], "--side", side, "--folder", str(folder)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    found = json.loads((folder / f"{side}.json").read_text())
    wall, cpu = (statistics.median(step[kind] for step in found["seconds"]) for kind in range(2))
    return Sample(wall, cpu, found)


def report(folder: Path, measured: Rounds) -> None:
    """The tables."""
    found = {side: measured.answer(side) for side in SIDES}
    print("| trainer | seconds a step | × TRL's | CPU seconds | × TRL's | peak memory, GB | × TRL's | in steps, GB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for side, title in SIDES.items():
        cells = [f"{measured.wall(side):.2f}", f"{measured.ratio(side, 'trl'):.2f}"]
        cells += [f"{measured.cpu(side):.2f}", f"{measured.cpu_ratio(side, 'trl'):.2f}"]
        for read in (
            lambda one, side=side: one[side].answer["peak"] / 1e9,
            lambda one, side=side: one[side].answer["peak"] / one["trl"].answer["peak"],
            lambda one, side=side: (one[side].answer["peak"] - one[side].answer["before"]) / 1e9,
        ):
            cells.append(f"{measured.of(read):.2f}")
        print(f"| {title} | {' | '.join(cells)} |")
    print("\n| the same loss? | largest difference of losses | gradients: ‖difference‖ ÷ ‖gradient‖ |")
    print("|---|---:|---:|")
    for side, other in EQUAL.items():
        losses = max(abs(a - b) for a, b in zip(found[side]["losses"], found[other]["losses"], strict=True))
        mine, theirs = (torch.load(folder / f"{name}.pt", weights_only=True) for name in (side, other))
        apart = sum(float((mine[name] - theirs[name]).square().sum()) for name in theirs) ** 0.5
        size = sum(float(theirs[name].square().sum()) for name in theirs) ** 0.5
        print(f"| {SIDES[side]}; {SIDES[other]} | {losses:.2g} | {apart / size:.2g} |")


def main() -> None:
    """Prepare, run every side in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a preference data set")
    parser.add_argument("--pairs", type=int, default=8, help="pairs in a batch")
    parser.add_argument("--steps", type=int, default=1, help="steps after the first, in every round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--full", action="store_true", help="all weights in place of an adapter")
    parser.add_argument("--no-checkpointing", dest="checkpointing", action="store_false", help="TRL's default is with")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="keep the model, the rows and the rounds here; go on there")
    arguments = parser.parse_args()
    if arguments.side:
        train(arguments.side, arguments, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "rows").exists():
            prepare(arguments, folder)
        methods = {side: partial(side_sample, side, folder) for side in SIDES}
        measured = interleave(methods, arguments.rounds, reported, arguments.folder and folder / "rounds.jsonl")
        where = (
            torch.cuda.get_device_name()
            if arguments.device == "cuda"
            else f"{processor()}, {torch.get_num_threads()} threads"
        )
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "trl"))
        today = datetime.datetime.now(tz=datetime.UTC).date()
        print(f"{where}; Python {sys.version.split()[0]}, {versions}; {arguments.dtype}; {today}.")
        print(f"`{Path(sys.argv[0]).stem} {' '.join(sys.argv[1:])}`; {arguments.rounds} rounds\n")
        report(folder, measured)


if __name__ == "__main__":
    main()
