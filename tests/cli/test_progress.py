from __future__ import annotations

import io

from rich.console import Console

from asr_data_cli.console import duration
from asr_data_cli.progress import LineProgress, progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_every_ten_seconds_and_one_at_the_end() -> None:
    lines: list[str] = []
    clock = Clock()
    report = LineProgress(lines.append, clock)
    for second in range(25):
        clock.now = 100.0 + second
        report.update("scored", 40 * second, 1_000, 3_100 * second)
    report.update("scored", 1_000, 1_000, 80_000)
    assert lines == [
        "scored 400 / 1,000 rows  3,100 tokens/s  15 s left",
        "scored 800 / 1,000 rows  3,100 tokens/s  5 s left",
        "scored 1,000 / 1,000 rows  3,333 tokens/s",
    ]


def test_rows_found_done_do_not_count_as_speed() -> None:
    lines: list[str] = []
    clock = Clock()
    report = LineProgress(lines.append, clock)
    report.update("scored", 900, 2_000, 0)
    clock.now += 100
    report.update("scored", 1_000, 2_000, 5_000)
    assert lines == ["scored 1,000 / 2,000 rows  50 tokens/s  17 min left"]


def test_unknown_total_and_new_stage() -> None:
    lines: list[str] = []
    clock = Clock()
    report = LineProgress(lines.append, clock)
    report.update("scored", 0, 0, 0)
    report.message("a word")
    clock.now += 10
    report.update("scored", 5, 0, 0)
    report.update("masked", 1, 5, 0)
    clock.now += 10
    report.update("masked", 2, 5, 0)
    assert lines[1:] == ["scored 5 rows", "masked 2 / 5 rows  30 s left"]


def test_short_stages_after_the_first_say_nothing() -> None:
    lines: list[str] = []
    clock = Clock()
    report = LineProgress(lines.append, clock)
    report.update("scored", 5, 5, 0)
    report.update("aligned", 1, 5, 0)
    report.update("aligned", 5, 5, 0)
    report.update("masked", 1, 5, 0)
    clock.now += 11
    report.update("masked", 5, 5, 0)
    assert lines == ["scored 5 / 5 rows", "masked 5 / 5 rows"]


def test_durations() -> None:
    seconds = (0.2, 89, 90, 121, 89 * 60, 91 * 60)
    assert [duration(value) for value in seconds] == ["1 s", "89 s", "2 min", "3 min", "89 min", "1 h 31 min"]


def test_not_a_terminal_gets_plain_lines() -> None:
    file = io.StringIO()
    with progress(Console(file=file, force_terminal=False, width=20)) as report:
        report.update("[red]scored", 5, 5, 10)
        report.message("a long message that is wider than the console")
    assert file.getvalue() == "[red]scored 5 / 5 rows\na long message that is wider than the console\n"


def test_a_terminal_gets_a_bar() -> None:
    file = io.StringIO()
    with progress(Console(file=file, force_terminal=True, width=100)) as report:
        report.update("scored", 0, 10, 0)
        report.message("loading [red]")
        report.update("scored", 10, 10, 10)
    assert "loading [red]" in file.getvalue()
    assert "10 / 10 rows" in file.getvalue()


def test_a_terminal_shows_one_bar_in_the_end() -> None:
    file = io.StringIO()
    with progress(Console(file=file, force_terminal=True, width=100)) as report:
        for stage in ("scoring", "aligning", "masking"):
            report.update(stage, 10, 10, 0)
    last = file.getvalue().split("masking")[-2:]
    assert "scoring" not in "".join(last)
    assert "aligning" not in "".join(last)
