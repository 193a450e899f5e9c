"""The steps of the study, each a command.

    python -m examples.training_study prepare ANNOTATED -o BUNDLE
    python -m examples.training_study train BUNDLE -o RUNS --device cuda
    python -m examples.training_study judge BUNDLE -o JUDGE
    python -m examples.training_study rewards BUNDLE RUNS --scorer builtin --scorer JUDGE
    python -m examples.training_study report RUNS

    python -m examples.training_study arms gold=DIR diff=DIR ... -o ARMS
    python -m examples.training_study credit ARMS -o CREDIT --arms dpo,gold,gold-turned,diff --budget 25
    python -m examples.training_study ladder ARMS -o LADDER --arms gold --long rows=200,epochs=3
    python -m examples.training_study credit-report CREDIT
    python -m examples.training_study ladder-report LADDER
    python -m examples.training_study wins ARMS CREDIT --scorer DIR

Every step but ``prepare`` goes on where it was stopped: a run or a scorer with a result is not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def main() -> None:
    """Parse, and do one step. Steps import what they need, so that ``report`` needs no torch."""
    arguments = _parser().parse_args()
    if arguments.step not in ("report", "credit-report", "ladder-report", "arms"):
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
                arguments.budget,
            )
        case "judge":
            from .rewards import train_judge

            if not (arguments.output / "asr_scorer.json").exists():
                train_judge(arguments.bundle, arguments.output, arguments.max_tokens)
        case "rewards":
            from .rewards import score_runs

            score_runs(arguments.bundle, arguments.runs, arguments.scorer, arguments.device)
        case "arms":
            from .credit_data import prepare_arms

            named = (one.partition("=")[::2] for one in arguments.directories)
            gold = None if arguments.unmarked else arguments.gold
            print(prepare_arms({arm: Path(path) for arm, path in named}, gold, arguments.output))
        case "credit" | "ladder":
            _credit(arguments)
        case "credit-report":
            from .credit_report import credit_report

            print(credit_report(arguments.runs, arguments.groups))
        case "ladder-report":
            from .credit_report import ladder_report

            print(ladder_report(arguments.ladder))
        case "wins":
            from .credit_wins import judge_runs, wins_report

            print(wins_report(judge_runs(arguments.bundle, arguments.runs, arguments.scorer, "cpu")))
        case _:
            from .report import report

            print(report(arguments.runs))


def _credit(arguments: argparse.Namespace) -> None:
    from .credit import CreditSettings, run_arms
    from .ladder import changed, run_ladder

    settings = CreditSettings(**changed(CreditSettings(), arguments.settings))
    arms, seeds = arguments.arms.split(","), [int(seed) for seed in arguments.seeds.split(",")]
    if arguments.step == "credit":
        run_arms(arguments.bundle, arguments.output, settings, arms, seeds, arguments.budget)
    else:
        long = changed(settings, arguments.long)
        run_ladder(arguments.bundle, arguments.output, settings, long, arms, seeds, arguments.budget)


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
    "kl": float,
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
    train.add_argument(
        "--budget", type=float, default=1e9, help="CPU minutes of all runs, those of earlier calls counted"
    )
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
    arms = steps.add_parser("arms", help="join annotated directories of the same pairs")
    arms.add_argument("directories", nargs="+", metavar="ARM=DIR")
    arms.add_argument("--gold", default="gold", help="the arm that was annotated with --kind labels")
    arms.add_argument(
        "--unmarked", action="store_true", help="there is none; test on what the built-in scorer held out"
    )
    arms.add_argument("-o", "--output", type=Path, required=True)
    for name, what in (("credit", "train each arm, and measure on marked text"), ("ladder", "one factor at a time")):
        credit = steps.add_parser(name, help=what)
        credit.add_argument("bundle", type=Path)
        credit.add_argument("-o", "--output", type=Path, required=True)
        credit.add_argument("--arms", required=True, help="dpo, those of the bundle, and ARM-turned")
        credit.add_argument("--seeds", default="0,1,2")
        credit.add_argument("--settings", default="", help="rows=64,learning_rate=1e-4")
        credit.add_argument("--budget", type=float, required=True, help="CPU minutes, those of earlier calls counted")
    credit.add_argument("--long", required=True, help="the settings of the last rung")
    credit_report: Any = steps.add_parser("credit-report", help="the tables of arms")
    credit_report.add_argument("runs", type=Path)
    credit_report.add_argument("--groups", default="", help="only pairs whose group begins so")
    ladder_report: Any = steps.add_parser("ladder-report", help="arms less DPO, by rung")
    ladder_report.add_argument("ladder", type=Path)
    wins = steps.add_parser("wins", help="win rate of the arms' answers against the base's, by a scorer")
    wins.add_argument("bundle", type=Path)
    wins.add_argument("runs", type=Path)
    wins.add_argument("--scorer", required=True)
    report: Any = steps.add_parser("report", help="the table")
    report.add_argument("runs", type=Path)
    return parser


if __name__ == "__main__":
    main()
