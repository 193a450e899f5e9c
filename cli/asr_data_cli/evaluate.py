"""``evaluate``: masks against gold labels, and a sweep over settings."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr_data.errors import ConfigError, StorageError
from asr_data_cli.console import print_facts, standard_output
from asr_data_cli.options import INPUT, MaskTokenizer
from asr_data_cli.setting_text import baseline_text, mask_text, segmenter_text

if TYPE_CHECKING:
    from asr_data.evaluation.evaluating import Evaluation, Sweep, SweptSetting
    from asr_data.evaluation.labelled_rows import Evaluated
    from asr_data.statistics.bootstrap import Estimate

SHOW = "Show"
OUTPUT = "Output"

EVALUATE_EXAMPLES = (
    "asr-annotate evaluate annotated",
    "asr-annotate evaluate annotated --gold rejected=fault_spans",
    "asr-annotate evaluate annotated --gold by-hand --json figures.json",
    "asr-annotate evaluate annotated --gold error_spans --sweep --by balanced_accuracy --csv sweep.csv",
)


def evaluate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An annotated directory.", show_default=False)],
    gold: Annotated[
        str | None,
        typer.Option(
            "--gold",
            metavar="COLUMN|SIDE=COLUMN,…|DIR",
            help="The gold labels: a column of spans, steps or sentence scores; rejected=COLUMN names the response; "
            "format=NAME reads a known format; or a second annotated directory.",
            rich_help_panel=INPUT,
            show_default="the labels that the input was read with, if any",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="COLUMN",
            help="Rows that share this column's value are drawn together by the bootstrap.",
            rich_help_panel=INPUT,
            show_default="the prompt",
        ),
    ] = None,
    tokenizer: MaskTokenizer = None,
    threshold: Annotated[
        float,
        typer.Option("--threshold", help="Text is faulty where its gold label is below.", rich_help_panel=INPUT),
    ] = 0.5,
    tolerance: Annotated[
        int,
        typer.Option(
            "--tolerance",
            min=0,
            help="Tokens by which a segment start may miss a gold boundary and still match it.",
            rich_help_panel=INPUT,
        ),
    ] = 2,
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, help="Draws of the bootstrap.", rich_help_panel=INPUT)
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.", rich_help_panel=INPUT)] = 0,
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep", help="Try many settings of segments and masks on the stored scores.", rich_help_panel=SHOW
        ),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="MEASURE",
            help="What orders the settings of --sweep.",
            rich_help_panel=SHOW,
            show_default="balanced_accuracy",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help="Settings of --sweep to show.", rich_help_panel=SHOW, show_default="15"),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write all figures to this file.", rich_help_panel=OUTPUT),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write all figures to this file.", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Measure rewards, segments and masks against gold labels, with intervals that resample prompts."""
    from asr_data.evaluation.evaluating import evaluate as judge
    from asr_data.evaluation.evaluating import sweep as judge_settings
    from asr_data.evaluation.labelled_rows import GoldOptions
    from asr_data.text import load_tokenizer

    if not sweep and (by is not None or top is not None):
        raise ConfigError("--by and --top belong to --sweep")
    options = GoldOptions(gold, group, threshold, tolerance, resamples, seed)
    policy = None if tokenizer is None else load_tokenizer(tokenizer)
    console = standard_output()
    if sweep:
        tried = judge_settings(directory, policy, options=options, by=by or "balanced_accuracy")
        print_sweep(console, tried, top or 15)
        _write(json_file, csv_file, _sweep_record(tried), [_setting_record(s) for s in (tried.own, *tried.settings)])
    else:
        found = judge(directory, policy, options=options)
        print_evaluation(console, found)
        record = {
            "evaluated": _evaluated_record(found.evaluated),
            "settings": found.mask.model_dump(mode="json"),
            "sigma": found.sigma,
            "measures": {name: _estimate_record(one) for name, one in found.estimates.items()},
        }
        lines = [{"measure": name, **_estimate_record(one)} for name, one in found.estimates.items()]
        _write(json_file, csv_file, record, lines)


def print_evaluation(console: Console, found: Evaluation) -> None:
    """Every measure with its interval."""
    from asr_data.evaluation.measures import TITLES

    _print_evaluated(console, found.evaluated, mask_text(found.mask))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure")
    for name in ("value", "95 % interval", "responses"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in found.estimates.items():
        table.add_row(TITLES[name], _number(one.value), _interval(one), f"{one.items:,}")
    console.print(table)


def print_sweep(console: Console, tried: Sweep, top: int) -> None:
    """The best settings, after the directory's own, and what the best are worth on prompts that did not choose them."""
    from asr_data.evaluation.measures import TITLES

    _print_evaluated(console, tried.evaluated, mask_text(tried.own.mask))
    shown = [name for name in _COLUMNS if name in tried.own.estimates]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("settings", overflow="fold", min_width=34)
    table.add_column("better than own", justify="right")
    for name in shown:
        table.add_column(_COLUMNS[name], justify="right", no_wrap=True)
    for place, one in enumerate([tried.own, *tried.settings[:top]]):
        words = Text("own: " if place == 0 else "").append(_short(one))
        difference = "" if place == 0 else f"{_signed(one.better.value)}\n{_interval(one.better)}"
        table.add_row(words, difference, *(_number(one.estimates[name].value) for name in shown))
    console.print(table)
    best = tried.settings[0]
    console.print(
        Text(f"{len(tried.settings)} settings by {tried.by}: {TITLES[tried.by]}. Best: {mask_text(best.mask)}")
    )
    if tried.held_out is not None:
        console.print(
            Text(
                f"Chosen on one half of the prompts and judged on the other: {_number(tried.held_out)}; "
                f"own setting on the same halves: {_number(tried.own_held_out)}."
            )
        )


_COLUMNS = {
    "segment_auroc": "segment\nAUROC",
    "balanced_accuracy": "balanced\naccuracy",
    "f1": "F1",
    "boundary_f1": "boundary\nF1",
    "purity": "purity",
    "err_seg": "eq. 14",
    "segments": "per\nresponse",
    "kept": "kept",
}


def _short(one: SweptSetting) -> str:
    mask = one.mask
    words = segmenter_text(mask.segmenter).removeprefix("--segmenter ").replace("--", "")
    return f"{words}, {baseline_text(mask.baseline)}, {mask.reward}, {mask.segment_reward}"


def _print_evaluated(console: Console, evaluated: Evaluated, settings: str) -> None:
    left_out = [f"{evaluated.without_gold:,} without gold labels"] if evaluated.without_gold else []
    left_out += [f"{count:,} {code}" for code, count in evaluated.unreadable.items()]
    facts = {
        "gold": evaluated.gold or "none: only what needs no labels",
        "rows": f"{evaluated.rows:,} of {evaluated.groups:,} prompts"
        + (f"; left out: {', '.join(left_out)}" if left_out else ""),
        "settings": settings,
    }
    if evaluated.labelled_tokens:
        share = evaluated.faulty_tokens / evaluated.labelled_tokens
        facts["faulty"] = (
            f"{share:.1%} of {evaluated.labelled_tokens:,} labelled tokens; calling all of them faulty has "
            f"F1 {2 * share / (1 + share):.3f}"
        )
    print_facts(console, facts)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _interval(one: Estimate) -> str:
    return "–" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"


def _evaluated_record(evaluated: Evaluated) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(evaluated)


def _estimate_record(one: Estimate) -> dict[str, float | None]:
    return {"value": one.value, "low": one.low, "high": one.high, "responses": one.items}


def _sweep_record(tried: Sweep) -> dict[str, object]:
    settings = [
        {
            "settings": one.mask.model_dump(mode="json"),
            "better": _estimate_record(one.better),
            "measures": {name: _estimate_record(estimate) for name, estimate in one.estimates.items()},
        }
        for one in (tried.own, *tried.settings)
    ]
    return {
        "evaluated": _evaluated_record(tried.evaluated),
        "by": tried.by,
        "own": settings[0],
        "settings": settings[1:],
        "held_out": tried.held_out,
        "own_held_out": tried.own_held_out,
    }


def _setting_record(one: SweptSetting) -> dict[str, object]:
    """A line of the CSV."""
    figures = {"better": one.better, **one.estimates}
    return {
        "options": mask_text(one.mask),
        **{f"{name}{end}": getattr(e, key) for name, e in figures.items() for end, key in _ENDS.items()},
    }


_ENDS = {"": "value", "_low": "low", "_high": "high"}


def _write(
    json_file: Path | None, csv_file: Path | None, record: Mapping[str, object], lines: Sequence[Mapping[str, object]]
) -> None:
    if json_file is not None:
        with _written(json_file) as file:
            json.dump(record, file, indent=2, ensure_ascii=False)
            file.write("\n")
    if csv_file is not None:
        with _written(csv_file) as file:
            writer = csv.DictWriter(file, fieldnames=list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)


@contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with file:
            yield file
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
