"""What commands print: consoles, errors, and the tables at the end of a run."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr_data.redact import without_url_secrets
from asr_data.view.escape import visible

if TYPE_CHECKING:
    from asr_data.masks.positions import KeptByPosition
    from asr_data.pipeline import SideSummary, Summary
    from asr_data.rows import Layout, Source


class _Console(Console):
    """Raises where rich would end the process without a word."""

    def on_broken_pipe(self) -> None:
        """Called while a ``BrokenPipeError`` is handled."""
        raise


class _ErrorConsole(_Console):
    """Goes on without a word where standard error takes none: a run does not end for a line that nobody reads."""

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError:
            discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Let what is written to a standard stream vanish from now on; the interpreter flushes it once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def standard_output(width: int | None = None) -> Console:
    """The console for results. Made per call, since a test or a pipe may have replaced ``sys.stdout``."""
    return _Console(width=width, highlight=False, soft_wrap=False)


def standard_error() -> Console:
    """The console for errors and progress."""
    return _ErrorConsole(stderr=True, highlight=False)


def print_error(message: str, *, hint: str | None = None) -> None:
    """``error: …`` in red on standard error; never wrapped, so that paths in it can be copied.

    Logs keep what is printed here, so URLs lose their passwords and signatures.
    """
    console = standard_error()
    console.print(Text(f"error: {visible(without_url_secrets(message))}", style="red"), soft_wrap=True)
    if hint is not None:
        console.print(Text(hint, style="dim"), soft_wrap=True)


def print_warning(message: str) -> None:
    """``warning: …`` in yellow on standard error."""
    text = Text(f"warning: {visible(without_url_secrets(message))}", style="yellow")
    standard_error().print(text, soft_wrap=True)


def print_facts(console: Console, facts: Mapping[str, str]) -> None:
    """Two aligned columns, name and value; a value of several lines stays aligned."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, Text(visible(value)))
    console.print(table)


def print_input(console: Console, source: Source, layout: Layout) -> None:
    """What was found: the input, how it is read, and what of it is not read as it stands."""
    unread = layout.unread_system(source.schema)
    lines = [*source.notes, *([] if unread is None else [unread])]
    notes = {"notes": "\n".join(lines)} if lines else {}
    print_facts(console, {"input": source.description, "layout": layout.describe(), **notes})


def print_commands(console: Console, title: str, commands: Sequence[tuple[str, str]]) -> None:
    """What to type next: each command on a line of its own, unwrapped, after a comment that says why."""
    console.print(Text(title, style="bold"))
    for purpose, command in commands:
        console.print(Text(f"  # {purpose}", style="dim"), soft_wrap=True)
        console.print(Text(f"  {command}"), soft_wrap=True)


def shell_words(*words: object) -> str:
    """A command that can be copied into a shell, whatever characters its paths hold."""
    return shlex.join(str(word) for word in words)


def print_summary(console: Console, summary: Summary) -> None:
    """The tables that end a run: rows and reasons, then one line per side."""
    facts = {
        **_rows(summary),
        **{f"  {code}": f"{count:,} rejected" for code, count in _by_count(summary.rejects)},
        **{f"  {code}": f"{count:,} noted" for code, count in _by_count(summary.notes)},
        **_unknown(summary),
        **_weights(summary),
        "time": _speed(summary.seconds, summary.tokens),
        "output": str(summary.path),
    }
    print_facts(console, facts)
    if summary.sides:
        console.print(side_table(summary.sides))
        found = {side: one.by_position for side, one in summary.sides.items() if one.by_position is not None}
        print_positions(console, found)


def _rows(summary: Summary) -> dict[str, str]:
    parts = f"{summary.annotated:,} annotated + {summary.rejected:,} rejected"
    if summary.pairs is None:
        return {"rows": f"{summary.rows:,} = {parts}"}
    return {"rows": f"{summary.rows:,}", "pairs": f"{summary.pairs:,} = {parts} (or whole rows rejected)"}


def print_positions(console: Console, found: Mapping[str, KeptByPosition]) -> None:
    """What is kept in each fifth of the responses, by side; a warning where that is nearly all there is to a mask."""
    from asr_data.masks.positions import FIFTHS, position_warnings

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("kept, by fifth of the response")
    for number in range(1, FIFTHS + 1):
        table.add_column(str(number), justify="right", no_wrap=True)
    for side, one in found.items():
        table.add_row(side, *("–" if share is None else f"{100 * share:.0f} %" for share in one.shares))
    if found:
        console.print(table)
    for warning in position_warnings(list(found.items())):
        print_warning(warning)


def _unknown(summary: Summary) -> dict[str, str]:
    """A line on responses of which no reward is known, and how they train."""
    sides = {name: side for name, side in summary.sides.items() if side.unknown_responses}
    if not sides:
        return {}
    counts = ", ".join(f"{side.unknown_responses:,} of {side.responses:,} {name}" for name, side in sides.items())
    trained = "trained on whole" if summary.unknown == "keep" else "not trained on"
    return {"unknown": f"{counts}: no reward is known, {trained} (--unknown {summary.unknown})"}


def _weights(summary: Summary) -> dict[str, str]:
    """A line on the mean weight of kept tokens, where there are weights."""
    means = {
        name: side.weight_sum / side.kept_tokens
        for name, side in summary.sides.items()
        if side.weight_sum is not None and side.kept_tokens
    }
    words = ", ".join(f"{mean:.3f} {name}" for name, mean in means.items())
    return {"weights": f"mean of kept tokens {words}"} if means else {}


def side_table(sides: Mapping[str, SideSummary]) -> Table:
    """Responses, tokens and segments of each side; shares of what is kept."""
    # One blank between columns: the largest data sets still fit into 80 columns.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0))
    table.add_column("side", no_wrap=True)
    for name in ("responses", "tokens", "tokens\nkept", "segments", "per\nresponse", "segments\nkept", "mean\nreward"):
        table.add_column(name, justify="right", no_wrap=True)
    for side, figures in sides.items():
        table.add_row(
            side,
            f"{figures.responses:,}",
            f"{figures.tokens:,}",
            _share(figures.kept_tokens, figures.tokens),
            f"{figures.segments:,}",
            f"{figures.segments / figures.responses:.1f}" if figures.responses else "–",
            _share(figures.kept_segments, figures.segments),
            f"{figures.mean_reward:.3f}" if math.isfinite(figures.mean_reward) else "–",
        )
    return table


def duration(seconds: float) -> str:
    """``8 s``, ``5 min`` or ``2 h 5 min``, rounded up so that it never promises too much."""
    whole = max(1, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = -(-whole // 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _speed(seconds: float, tokens: int) -> str:
    if tokens and seconds > 0:
        return f"{duration(seconds)}, {tokens:,} tokens scored, {tokens / seconds:,.0f} tokens/s"
    return duration(seconds)
