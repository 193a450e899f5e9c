"""What ``evaluate`` prints; nothing is wider than 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr_data_cli.console import print_facts, print_positions
from asr_data_cli.setting_text import baseline_text, mask_text, segmenter_text

if TYPE_CHECKING:
    from asr_data.evaluation.comparing import Compared
    from asr_data.evaluation.evaluating import Evaluation, Sweep, SweptSetting
    from asr_data.evaluation.labelled_rows import Evaluated
    from asr_data.statistics.bootstrap import Comparison, Estimate

SHORT = {
    "token_auroc": "AUROC of token rewards",
    "segment_auroc": "AUROC of segment rewards",
    "precision": "masks: precision",
    "recall": "masks: recall",
    "f1": "masks: F1",
    "balanced_accuracy": "masks: balanced accuracy",
    "boundary_f1": "boundary F1",
    "purity": "segment purity",
    "pairs_outcome": "pairs: sequence reward",
    "pairs_mean_step": "pairs: mean over steps",
    "pairs_last_step": "pairs: last step",
}
"""The measures that have controls, short enough for a table of 80 columns."""


def print_evaluation(console: Console, found: Evaluation) -> None:
    """Every measure with its interval, those of what is found beside the controls."""
    from asr_data.evaluation.controls import CONTROLS
    from asr_data.evaluation.measures import TITLES

    _print_evaluated(console, found.evaluated, mask_text(found.mask))
    beside = _table("", "value", "ahead by", "95 % interval", "shows", "n")
    for name, one in found.estimates.items():
        if name not in SHORT:
            continue
        beside.add_row(SHORT[name], _number(one.value), "", _interval(one), "", f"{one.items:,}")
        for control, ahead in found.ahead.items():
            value = found.controls[control][name].value
            beside.add_row(f"  {control}", _number(value), *_compared(ahead[name]), "", style="dim")
    console.print(beside)
    told = "; ".join(f"{name}: {CONTROLS[name]}" for name in found.controls)
    console.print(Text(f"Beside each figure the same of controls ({told})."))
    console.print(Text(_SHOWS))
    rest = _table("", "value", "95 % interval", "n")
    for name, one in found.estimates.items():
        if name not in SHORT:
            rest.add_row(TITLES[name], _number(one.value), _interval(one), f"{one.items:,}")
    console.print(rest)
    print_positions(console, found.positions)


_SHOWS = (
    "ahead by: the figure less the control's, on the same prompts, with its interval. shows: the smallest difference "
    "that so many responses show four times in five (2.8 standard errors)."
)


def print_compared(console: Console, found: Compared) -> None:
    """The directories by measure, each against the first."""
    from asr_data.evaluation.controls import CONTROLS
    from asr_data.evaluation.measures import TITLES

    letters = [chr(ord("A") + place) if place < 26 else str(place) for place in range(len(found.contenders))]
    _print_evaluated(console, found.evaluated, "", rows=(found.rows, found.groups))
    for letter, one in zip(letters, found.contenders, strict=True):
        left_out = f"; {one.left_out:,} rows left out, which another has not" if one.left_out else ""
        print_facts(console, {letter: f"{one.path}{left_out}\n{mask_text(one.mask)}"})
    table = _table("", "value", "ahead by", "95 % interval", "shows")
    for name, first in found.contenders[0].estimates.items():
        table.add_row(SHORT.get(name, TITLES[name].partition(",")[0]), "", "", "", "")
        table.add_row("  A", _number(first.value), "", _interval(first), "")
        for letter, one in zip(letters[1:], found.contenders[1:], strict=True):
            table.add_row(f"  {letter} against A", _number(one.estimates[name].value), *_compared(one.ahead[name]))
        for control, ahead in found.ahead.items():
            if name in ahead:
                value = found.controls[control][name].value
                table.add_row(f"  A against {control}", _number(value), *_compared(ahead[name]), style="dim")
    console.print(table)
    told = "; ".join(f"{name}: {CONTROLS[name]}" for name in found.controls)
    console.print(Text(f"Controls are made with the settings of A ({told}): the value is the control's."))
    console.print(Text(_SHOWS.replace("the control's", "that of A, or A's less the control's")))
    for letter, one in zip(letters, found.contenders, strict=True):
        print_positions(console, {f"{letter} {side}": by for side, by in one.positions.items()})


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


def _print_evaluated(
    console: Console, evaluated: Evaluated, settings: str, rows: tuple[int, int] | None = None
) -> None:
    left_out = [f"{evaluated.without_gold:,} without gold labels"] if evaluated.without_gold else []
    left_out += [f"{count:,} {code}" for code, count in evaluated.unreadable.items()]
    facts = {
        "gold": evaluated.gold or "none: only what needs no labels",
        "rows": "{:,} of {:,} prompts".format(*(rows or (evaluated.rows, evaluated.groups)))
        + (f"; left out: {', '.join(left_out)}" if left_out else ""),
        **({"settings": settings} if settings else {}),
    }
    if evaluated.labelled_tokens:
        share = evaluated.faulty_tokens / evaluated.labelled_tokens
        facts["faulty"] = (
            f"{share:.1%} of {evaluated.labelled_tokens:,} labelled tokens; calling all of them faulty has "
            f"F1 {2 * share / (1 + share):.3f}"
        )
    print_facts(console, facts)


def _table(*columns: str) -> Table:
    """The first column is words, the others are numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _compared(one: Comparison) -> tuple[str, str, str]:
    """By how much, the interval, and what could have been shown."""
    low, high = one.ahead.low, one.ahead.high
    interval = "–" if low is None or high is None else f"{_signed(low)} to {_signed(high)}"
    return _signed(one.ahead.value), interval, _number(one.least)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    # Plus 0: what rounds to nothing has no minus.
    return "–" if value is None else f"{round(value, 3) + 0.0:+.3f}"


def _interval(one: Estimate) -> str:
    return "–" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
