from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from asr_data.view.decisions import Decision
from asr_data.view.model import GoldSpan, ResponseView, RowView, SegmentView
from asr_data.view.terminal import Scale, TerminalView, scale_for, show_rows

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def row(*segments: tuple[str, float | None, bool], prompt: str = "Why?", notes: tuple[str, ...] = ()) -> RowView:
    parts = tuple(SegmentView(*segment) for segment in segments)
    return RowView(3, prompt, (ResponseView("chosen", parts, 0.5, 9, 4),), notes)


def shown(one: RowView, *, colour: bool, width: int = 80, values: bool = False, curve: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=colour, color_system="truecolor" if colour else None)
    show_rows(console, [one], values=values, curve=curve)
    return file.getvalue()


def test_without_colour_dropped_segments_are_in_brackets() -> None:
    text = shown(row(("kept ", 1.0, True), ("gone", 0.0, False), ("", 1.0, True)), colour=False)
    assert "kept │[-gone-]│∅" in text
    assert "\x1b" not in text
    assert "2 of 3 segments and 4 of 9 tokens kept" in text


def test_rows_shown_again_have_no_second_prompt_and_of_the_legend_the_colours() -> None:
    file = io.StringIO()
    one = row(("kept ", 1.0, True), ("gone", 0.0, False))
    show_rows(Console(file=file, width=80), [one], again=True)
    assert file.getvalue().startswith("row 3 ")
    assert "kept │[-gone-]" in file.getvalue()
    assert "Why?" not in file.getvalue()
    coloured = Console(file=(colours := io.StringIO()), width=80, force_terminal=True, color_system="truecolor")
    show_rows(coloured, [one], again=True)
    assert "segment reward" in colours.getvalue()
    assert "Why?" not in colours.getvalue()


def test_no_color_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "[-gone-]" in shown(row(("gone", 0.0, False)), colour=True)


def test_colour_kept_is_filled_and_dropped_is_struck() -> None:
    text = shown(row(("good", 1.0, True), ("flat", 0.0, True), ("bad", -1.0, False)), colour=True)
    # 38 is the colour of the text, 48 of the fill, 9 strikes through
    assert "\x1b[38;2;255;255;255;48;2;31;99;165mgood\x1b[0m" in text  # the blue end, #1f63a5
    assert "\x1b[38;2;0;0;0;48;2;221;221;221mflat\x1b[0m" in text
    assert "\x1b[9;38;2;196;102;31mbad\x1b[0m" in text
    assert "[-" not in ANSI.sub("", text)


def test_markup_and_escapes_in_data_are_text() -> None:
    hostile = "[bold red]x[/] [link=http://a]y[/link] :smile: \x1b]0;title\x07 \x9b31m"
    text = shown(row((hostile, 1.0, True), prompt=hostile, notes=("[red]",)), colour=False, width=200)
    expected = "[bold red]x[/] [link=http://a]y[/link] :smile: <U+001B>]0;title<U+0007> <U+009B>31m"
    assert text.count(expected) == 2
    assert "row 3  [red]" in text


def test_values_follow_their_segments() -> None:
    text = shown(row(("a", 0.25, True), ("b", -1.5, False)), colour=False, values=True)
    assert "a{0.25}│[-b-]{-1.5}" in text


def test_unknown_rewards_have_no_number_and_no_colour() -> None:
    segments = (("a", 1.0, True), ("b", None, False), ("", None, True))
    plain = shown(row(*segments), colour=False, values=True)
    assert "a{1}│[-[?b?]-]│[?∅?]" in plain
    assert "kept  [-dropped-]  [?unknown?]" in plain
    coloured = shown(row(*segments), colour=True, values=True)
    assert "\x1b[2;9mb\x1b[0m" in coloured  # 2 is dim
    assert "\x1b[2m∅\x1b[0m" in coloured
    assert "\x1b[2munknown\x1b[0m" in coloured
    assert "unknown" not in shown(row(("a", 1.0, True)), colour=False)


def test_a_response_of_unknown_reward() -> None:
    response = ResponseView("chosen", (SegmentView("a", None, True),), None, 9, 9)
    assert "reward unknown   1 of 1 segments" in shown(RowView(3, "Why?", (response,)), colour=False)


@pytest.mark.parametrize("colour", [False, True])
def test_wide_characters_keep_to_the_width_and_none_is_lost(colour: bool) -> None:
    text = "".join(chr(0x4E00 + number) for number in range(150))
    plain = ANSI.sub("", shown(row((text[:70], 1.0, True), (text[70:], 0.9, True)), colour=colour, width=41))
    assert max(cell_len(line) for line in plain.splitlines()) <= 41
    assert "".join(re.findall("[\u4e00-\u9fff]", plain)) == text


def test_long_response_is_shown_whole() -> None:
    words = [f"word{number}" for number in range(500)]
    text = shown(row((" ".join(words), 1.0, True)), colour=False)
    assert re.findall(r"word\d+", text) == words


def test_long_prompt_says_how_many_lines_are_missing() -> None:
    view = TerminalView(Scale(0.0, 1.0), colour=False)
    lines = [f"line {number}" for number in range(20)]
    # eight lines stay: two of the beginning, six of the end
    assert view.prompt("\n".join(lines)).plain.split("\n") == [*lines[:2], "… 12 lines …", *lines[14:]]


def test_long_prompt_line() -> None:
    view = TerminalView(Scale(0.0, 1.0), colour=False)
    assert view.prompt("a" * 1000 + "b" * 300).plain == "a" * 300 + " … 700 characters … " + "b" * 300


def test_messages_of_a_prompt() -> None:
    view = TerminalView(Scale(0.0, 1.0), colour=False)
    assert view.prompt([{"role": "user", "content": "Hi"}]).plain == "user: Hi"


def test_scale_steps() -> None:
    scale = Scale(centre=1.0, spread=3.0)
    rewards = (-9.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 9.0)
    assert [scale.step(reward) for reward in rewards] == [0, 0, 1, 2, 3, 4, 5, 6, 6]


def test_scale_for_rows() -> None:
    found = scale_for([row(("a", -1.0, True), ("b", 2.0, True), ("c", 4.0, True))])
    assert (found.centre, found.spread) == (2.0, 3.0)
    assert scale_for([row(("a", 0.5, True))]) == Scale(0.5, 1.0)
    assert scale_for([]) == Scale(0.0, 1.0)
    assert scale_for([row(("a", None, True), ("b", 2.0, True))]) == Scale(2.0, 1.0)


def decided(baseline: float | None, *segments: tuple[str, float, bool], delta: float | None = None) -> RowView:
    parts = tuple(SegmentView(*segment) for segment in segments)
    return RowView(3, "Why?", (ResponseView("chosen", parts, 0.5, 9, 4, decision=Decision(baseline, delta)),))


def test_colours_are_around_the_baseline() -> None:
    scale = Scale(centre=0.0, spread=3.0)
    assert [scale.step(reward, baseline=10.0) for reward in (0.0, 9.0, 10.0, 11.0, 99.0)] == [0, 2, 3, 4, 6]
    # distances from the baseline are 1 and 4; from the centre they would be others
    assert scale_for([decided(10.0, ("a", 9.0, False), ("b", 14.0, True))]).spread == 4.0


def test_baseline_and_band_are_named() -> None:
    one = decided(0.25, ("a", 1.0, True), ("b", 0.0, False), delta=0.125)
    assert "reward 0.5, b 0.25 ± 0.125   1 of 2 segments" in shown(one, colour=False)
    assert "segment reward b − 0.75 " in ANSI.sub("", shown(one, colour=True))
    assert ", b " not in shown(decided(None, ("a", 1.0, True)), colour=False)


def test_faults_by_gold_are_underlined_within_their_segments() -> None:
    parts = (SegmentView("It is ", 1.0, True), SegmentView("five.", -1.0, False))
    gold = (GoldSpan(3, 8, 0.0, "wrong"), GoldSpan(8, 11, 1.0, "correct"))
    one = RowView(3, "Why?", (ResponseView("chosen", parts, 0.5, 9, 4, decision=Decision(0.0), gold=gold),))
    plain = shown(one, colour=False)
    assert "It {~is ~}│[-{~fi~}ve.-]" in plain
    assert "{~faulty by gold~}" in plain
    coloured = shown(one, colour=True)
    # 4 underlines, 9 strikes through
    assert "\x1b[4;38;2;255;255;255;48;2;31;99;165mis \x1b[0m" in coloured
    assert "\x1b[4;9;38;2;196;102;31mfi\x1b[0m\x1b[9;38;2;196;102;31mve.\x1b[0m" in coloured
    assert "{~" not in shown(row(("a", 1.0, True)), colour=False)


def test_gold_labels_that_cannot_be_read() -> None:
    one = RowView(3, "Why?", (), gold_error="label_mismatch: \x1b[2J")
    assert "row 3  gold labels not shown: label_mismatch: <U+001B>[2J" in shown(one, colour=False)


def with_curve(*rewards: float | None, colour: bool = False, width: int = 80) -> str:
    part = SegmentView("text", 1.0, True)
    response = ResponseView("chosen", (part,), 0.5, 9, 4, decision=Decision(1.0), token_reward=rewards)
    return shown(RowView(3, "Why?", (response,)), colour=colour, width=width, curve=True)


def test_a_curve_has_a_column_for_each_token() -> None:
    # Heights from 0 to 7: 0.5 of the way from −1 to 1 is 3.5, which rounds to the even 4.
    assert "  ▁▅█ █ -1 to 1\n" in re.sub(" +\n", "\n", with_curve(-1.0, 0.0, 1.0, None, 1.0))
    assert "  ▁▁ 2 to 2" in with_curve(2.0, 2.0)
    assert "no token rewards" in with_curve(None, None)
    assert "no token rewards" in with_curve()
    assert "▁" not in shown(row(("text", 1.0, True)), colour=False)


def test_a_curve_that_does_not_fit_shows_means() -> None:
    # 20 columns, less 2 of margin and 7 of " 0 to 3", leave 11 for 22 tokens: two each.
    rewards = [*[0.0, 2.0] * 10, 3.0, 3.0]
    assert "  " + "▃" * 10 + "█ 0 to 3" in with_curve(*rewards, width=20)
    unknown = [None, None, *rewards[2:]]
    assert "   " + "▃" * 9 + "█ 0 to 3" in with_curve(*unknown, width=20)


def test_a_curve_has_the_colours_of_its_rewards() -> None:
    text = with_curve(1.0, 2.0, colour=True)
    # At the baseline grey; the spread is 1, so 2.0 is the blue end.
    assert "\x1b[38;2;128;128;128m▁" in text
    assert "\x1b[38;2;59;124;192m█" in text


IN_A_TERMINAL = """
from rich.console import Console
from asr_data.view.decisions import Decision
from asr_data.view.model import ResponseView, RowView, SegmentView
from asr_data.view.terminal import show_rows
parts = (SegmentView("good", 1.0, True), SegmentView("bad", -1.0, True), SegmentView("gone", -1.0, False))
response = ResponseView("chosen", parts, 0.5, 9, 4, decision=Decision(0.0))
show_rows(Console(force_terminal=True, width=80), [RowView(3, "Why?", (response,))])
"""


@pytest.mark.parametrize(
    ("environment", "good", "bad", "gone"),
    [
        # 48;… is a fill, 38;… the text on it; 9 strikes through
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "48;2;31;99;165", "48;2;179;88;6", "9;38;2;196;102;31"),
        ({"TERM": "xterm-256color"}, "48;5;25", "48;5;130", "9;38;5;166"),
        ({"TERM": "xterm"}, "97;44", "30;43", "9;33"),
    ],
)
def test_colours_that_the_terminal_has(environment: dict[str, str], good: str, bad: str, gone: str) -> None:
    # A process of its own, since rich keeps the codes of a style for the first console that it meets.
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, "-c", IN_A_TERMINAL]
    text = subprocess.run(command, env=env, capture_output=True, check=True, encoding="utf-8").stdout
    codes = {word: found for found, word in re.findall(r"\x1b\[([\d;]+)m(good|bad|gone)\x1b", text)}
    assert (codes["good"].endswith(good), codes["bad"].endswith(bad), codes["gone"]) == (True, True, gone)


def test_right_to_left_text_stays_in_its_order() -> None:
    hebrew, arabic = "התשובה היא ארבע", "الجواب أربعة"
    text = shown(row((hebrew, 1.0, True), (arabic, 0.0, False)), colour=False)
    assert f"{hebrew}│[-{arabic}-]" in text


@pytest.mark.parametrize(("centre", "spread"), [(float("nan"), 1.0), (0.0, 0.0), (0.0, float("inf"))])
def test_scale_refuses(centre: float, spread: float) -> None:
    with pytest.raises(ValueError, match="finite centre and a finite spread > 0"):
        Scale(centre, spread)
