from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from asr_data.view.model import ResponseView, RowView, SegmentView
from asr_data.view.terminal import Scale, TerminalView, scale_for, show_rows

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def row(*segments: tuple[str, float | None, bool], prompt: str = "Why?", notes: tuple[str, ...] = ()) -> RowView:
    parts = tuple(SegmentView(*segment) for segment in segments)
    return RowView(3, prompt, (ResponseView("chosen", parts, 0.5, 9, 4),), notes)


def shown(one: RowView, *, colour: bool, width: int = 80, values: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=colour, color_system="truecolor" if colour else None)
    show_rows(console, [one], values=values)
    return file.getvalue()


def test_without_colour_dropped_segments_are_in_brackets() -> None:
    text = shown(row(("kept ", 1.0, True), ("gone", 0.0, False), ("", 1.0, True)), colour=False)
    assert "kept │[-gone-]│∅" in text
    assert "\x1b" not in text
    assert "2 of 3 segments and 4 of 9 tokens kept" in text


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


@pytest.mark.parametrize(("centre", "spread"), [(float("nan"), 1.0), (0.0, 0.0), (0.0, float("inf"))])
def test_scale_refuses(centre: float, spread: float) -> None:
    with pytest.raises(ValueError, match="finite centre and a finite spread > 0"):
        Scale(centre, spread)
