"""The steps of the study, each a command.

    python -m examples.training_study prepare ANNOTATED -o BUNDLE
    python -m examples.training_study train BUNDLE -o RUNS --device cuda
    python -m examples.training_study judge BUNDLE -o JUDGE
    python -m examples.training_study rewards BUNDLE RUNS --scorer builtin --scorer JUDGE
    python -m examples.training_study report RUNS

Every step but ``prepare`` goes on where it was stopped: a run or a scorer with a result is not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def main() -> None:
    """Parse, and do one step. Steps import what they need, so that ``report`` needs no torch."""
    arguments = _parser().parse_args()
    if arguments.step != "report":
        from asr_data.scoring.allocator import settle_memory

        settle_memory()
    match arguments.step:
        case "prepare":
            from .data import prepare

            print(prepare(arguments.annotated, arguments.output))
        case "train":
            from .run import Settings, train_all

            chosen = {name: getattr(arguments, name) for name in _SETTINGS}
            settings = Settings(**{name: value for name, value in chosen.items() if value is not None})
            train_all(
                arguments.bundle,
                arguments.output,
                settings,
                arguments.methods.split(","),
                [int(seed) for seed in arguments.seeds.split(",")],
                arguments.device,
                arguments.minutes,
            )
        case "judge":
            from .rewards import train_judge

            if not (arguments.output / "asr_scorer.json").exists():
                train_judge(arguments.bundle, arguments.output, arguments.max_tokens)
        case "rewards":
            from .rewards import score_runs

            score_runs(arguments.bundle, arguments.runs, arguments.scorer, arguments.device)
        case _:
            from .report import report

            print(report(arguments.runs))


_SETTINGS: dict[str, type] = {
    "rows": int,
    "held_out": int,
    "max_length": int,
    "epochs": float,
    "batch": int,
    "micro_batch": int,
    "learning_rate": float,
    "beta": float,
    "rank": int,
    "layers": int,
    "prompts": int,
    "new_tokens": int,
    "temperature": float,
    "online_steps": int,
    "answers": int,
    "win_rate_every": int,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    prepare = steps.add_parser("prepare", help="split an annotated directory")
    prepare.add_argument("annotated", type=Path)
    prepare.add_argument("-o", "--output", type=Path, required=True)
    train = steps.add_parser("train", help="train and sample; one JSON file for each method and seed")
    train.add_argument("bundle", type=Path)
    train.add_argument("-o", "--output", type=Path, required=True)
    train.add_argument("--methods", default="base,dpo,adpo,rs,ars,adpo-turned,ars-turned,adpo-detach,grpo,appo")
    train.add_argument("--seeds", default="0,1,2")
    train.add_argument("--device", default="cpu")
    train.add_argument("--minutes", type=float, default=1e9, help="no run is begun after so many")
    for name, kind in _SETTINGS.items():
        train.add_argument(f"--{name.replace('_', '-')}", type=kind)
    judge = steps.add_parser("judge", help="train a second scorer, on a GPU where there is one")
    judge.add_argument("bundle", type=Path)
    judge.add_argument("-o", "--output", type=Path, required=True)
    judge.add_argument("--max-tokens", type=int, default=1_500_000)
    rewards = steps.add_parser("rewards", help="score the samples")
    rewards.add_argument("bundle", type=Path)
    rewards.add_argument("runs", type=Path)
    rewards.add_argument("--scorer", action="append", required=True)
    rewards.add_argument("--device", default="auto")
    report: Any = steps.add_parser("report", help="the table")
    report.add_argument("runs", type=Path)
    return parser


if __name__ == "__main__":
    main()
