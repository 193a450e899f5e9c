"""Table 1 of the paper: train, run the benchmarks, one table. For whoever has the hardware.

    python -m examples.paper.table1 --policy Qwen/Qwen2-7B-Instruct --reward-model REWARD_MODEL \\
        --data prm800k.jsonl --data nvidia/HelpSteer@train --prompts 2000 --device cuda \\
        --lm-eval PATH/TO/bin/lm_eval --allow-code -o table1-work

Prompts are read from the data; the policy answers each several times; the best and the worst answer by the reward model
are a pair, which ``asr-annotate run`` masks. DPO, ADPO, RS and ARS train on the pairs, GRPO (PPO's objective without a
value model) and APPO on line on the prompts, all of them with an adapter. Every stage leaves a file and is not repeated
where it is there; ``table1.md`` is the end. Checkpoints are whole: seven times the size of the policy.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from asr_data.errors import AsrDataError

from .benchmarks import COLUMNS, chosen_benchmarks
from .files import write_json
from .harness import Harness
from .report import table

if TYPE_CHECKING:
    from examples.training_study.run import Settings


def main(arguments: list[str] | None = None) -> None:
    """Parse, and do what is missing."""
    given = _parser().parse_args(arguments)
    benchmarks = chosen_benchmarks(given.benchmarks, given.task)
    harness = Harness(given.lm_eval, given.device, given.lm_eval_options, given.include_path, given.allow_code)
    if not given.table_only:
        harness.check(benchmarks)
        try:
            _train(given)
        except AsrDataError as error:
            raise SystemExit(str(error)) from error
        for name in COLUMNS:
            for one in benchmarks:
                if harness.skipped(one) is None:
                    print(f"{name}: {one.name}", flush=True)
                    output = given.output / "results" / name / f"{one.name}.json"
                    harness.measure(given.output / "checkpoints" / name, one, output)
    text = table(given.output / "results", benchmarks, harness)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "table1.md").write_text(text, encoding="utf-8")
    print(text)


def _train(given: argparse.Namespace) -> None:
    if not given.data:
        raise SystemExit("--data: name a file or a Hub id to take prompts from, such as PRM800K's or HelpSteer's")
    from asr_data.scoring.allocator import settle_memory

    settle_memory()
    from . import stages

    settings, work = _settings(given), given.output
    _check_settings(work / "settings.json", {"data": given.data, "prompts": given.prompts, **asdict(settings)})
    stages.make_prompts(given.data, given.prompts, work / "prompts.jsonl")
    stages.make_pairs(work / "prompts.jsonl", settings, given.device, work / "pairs.jsonl")
    stages.make_bundle(work / "pairs.jsonl", settings, given.device, work / "annotated", work / "bundle")
    stages.make_checkpoints(work / "bundle", settings, list(COLUMNS), given.device, work)


def _settings(given: argparse.Namespace) -> Settings:
    from examples.training_study.run import Settings

    return Settings(
        rows=None,
        policy=given.policy,
        scorer=given.reward_model,
        epochs=given.epochs,
        batch=given.batch,
        micro_batch=given.micro_batch,
        online_steps=given.online_steps,
        answers=given.answers,
        new_tokens=given.new_tokens,
        max_length=given.max_length,
        learning_rate=given.learning_rate,
        rank=given.rank,
        layers=given.layers,
    )


def _check_settings(path: Path, settings: dict[str, object]) -> None:
    if not path.exists():
        write_json(path, settings)
    elif (found := json.loads(path.read_text(encoding="utf-8"))) != settings:
        different = ", ".join(key for key in settings if found.get(key) != settings[key])
        raise SystemExit(f"{path.parent} was made with other settings ({different}); give another -o")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.paper.table1",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, help="where every stage leaves its files")
    add("--policy", default="builtin", help="builtin (SmolLM2-135M-Instruct), a directory or a Hub id")
    add("--reward-model", default="builtin", help="as asr-annotate run --model")
    add(
        "--data",
        action="append",
        default=[],
        help="file, directory or Hub id with prompts; @SPLIT behind it; repeatable",
    )
    add("--prompts", type=int, default=1000, help="from each of them")
    add("--device", default="cpu")
    add("--answers", type=int, default=4, help="to each prompt, for pairs and on line")
    add("--new-tokens", type=int, default=512, help="longest answer")
    add("--max-length", type=int, default=2048, help="longer pairs are left out")
    add("--epochs", type=float, default=1.0, help="over the pairs")
    add("--batch", type=int, default=16, help="pairs or answers in a step")
    add("--micro-batch", type=int, default=4, help="pairs in a forward pass")
    add("--online-steps", type=int, default=200, help="of GRPO and APPO")
    add("--learning-rate", type=float, default=2e-4)
    add("--rank", type=int, default=16, help="of the adapter")
    add("--layers", type=int, default=1000, help="the last ones, which get an adapter; more than there are: all")
    add("--benchmarks", help="some of them, with commas; default all")
    add("--task", action="append", default=[], metavar="NAME=TASK[:SHOTS[:METRIC]]", help="another task, or a new one")
    add("--include-path", type=Path, help="directory with tasks of your own, in the harness's YAML")
    add("--lm-eval", default="lm_eval", help="the program, in any environment")
    add("--lm-eval-options", default="", help="more options of its own, in one string")
    add("--allow-code", action="store_true", help="HumanEval may run what the model writes")
    add("--table-only", action="store_true", help="only the table, from the results that are there")
    return parser


if __name__ == "__main__":
    main()
