"""Annotated rows in the terminal: segments coloured by reward, dropped ones struck out.

Blue is good and orange is bad, on a diverging scale that the common colour-vision deficiencies keep apart. What is
unknown is dim. Without colour the same facts are in brackets: ``[-dropped-]``, ``[?unknown?]``. Everything is built
from ``rich.Text``, never from markup, and data set text goes through :func:`asr_data.view.escape.visible` first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.style import Style
from rich.text import Text as RichText

from asr_data.types import Text
from asr_data.view.escape import visible
from asr_data.view.model import ResponseView, RowView, SegmentView

BORDER = "│"
NO_TEXT = "∅"

# (background of a kept segment, text on it, colour of a dropped segment's text), worst to best. The two
# ends are the orange and the blue of ColorBrewer's diverging schemes; text on a fill has contrast >= 4.5,
# and a dropped segment's colour is legible on a dark and on a light terminal alike.
_STEPS = (
    ("#b35806", "#ffffff", "#c4661f"),
    ("#f1a340", "#000000", "#b8763a"),
    ("#fee0b6", "#000000", "#9c7d5c"),
    ("#dddddd", "#000000", "#808080"),
    ("#b3d4ea", "#000000", "#64829a"),
    ("#67a9cf", "#000000", "#4a83ab"),
    ("#1f63a5", "#ffffff", "#3b7cc0"),
)
_FAINT = Style(dim=True)
_MARK = Style(bold=True)


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps rewards to colour steps: ``centre`` is neutral, ``centre ± spread`` and beyond are the ends."""

    centre: float
    spread: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.centre) and math.isfinite(self.spread) and self.spread > 0):
            raise ValueError(
                f"a scale needs a finite centre and a finite spread > 0, not {self.centre} and {self.spread}"
            )

    def step(self, reward: float) -> int:
        """Index of the colour step of ``reward``, 0 (worst) to 6 (best)."""
        position = max(-1.0, min(1.0, (reward - self.centre) / self.spread))
        half = len(_STEPS) // 2
        return half + round(position * half)


def scale_for(rows: Iterable[RowView]) -> Scale:
    """A scale for these rows: median of their segment rewards, reaching to the 95th percentile of distances.

    Rows whose segments all have one reward get spread 1 around it.
    """
    parts = (part for row in rows for side in row.responses for part in side.segments)
    rewards = sorted(part.reward for part in parts if part.reward is not None)
    if not rewards:
        return Scale(0.0, 1.0)
    centre = rewards[len(rewards) // 2]
    distances = sorted(abs(reward - centre) for reward in rewards)
    spread = distances[min(len(distances) - 1, math.ceil(0.95 * len(distances)))]
    return Scale(centre, spread if spread > 0 else 1.0)


@dataclass(frozen=True, slots=True)
class TerminalView:
    """How rows are shown.

    Attributes:
        scale: rewards to colours.
        colour: false writes ``[-dropped-]`` brackets in place of styles.
        values: write each segment's reward after it.
        unknown: there are unknown rewards, for the legend to explain.
        prompt_lines: longest prompt shown in full; a longer one says how many lines were left out.
    """

    scale: Scale
    colour: bool
    values: bool = False
    unknown: bool = False
    prompt_lines: int = 8

    def legend(self) -> RichText:
        """One line that explains colours and marks."""
        low, high = self.scale.centre - self.scale.spread, self.scale.centre + self.scale.spread
        line = RichText()
        if self.colour:
            line.append(f"segment reward {low:.3g} ")
            for fill, ink, _ in _STEPS:
                line.append("  ", Style(bgcolor=fill, color=ink))
            line.append(f" {high:.3g}   ")
            line.append("kept", self._style(self.scale.centre, keep=True)).append("  ")
            line.append("dropped", self._style(self.scale.centre, keep=False)).append("  ")
            if self.unknown:
                line.append("unknown", _FAINT).append("  ")
        else:
            line.append("kept  [-dropped-]  " + ("[?unknown?]  " if self.unknown else ""))
        line.append(BORDER, _MARK).append(f" next segment  {NO_TEXT} no text of its own")
        return line

    def row(self, row: RowView) -> RenderableType:
        """One row: a rule with its index and notes, the prompt, and each response."""
        title = f"row {row.index:,}" + "".join(f"  {visible(note)}" for note in row.notes)
        parts: list[RenderableType] = [Rule(RichText(title), align="left", style=_FAINT)]
        parts.append(Padding(self.prompt(row.prompt), (0, 0, 1, 2)))
        for response in row.responses:
            parts.append(self._heading(response))
            parts.append(Padding(self.response(response.segments), (0, 0, 1, 2)))
        return Group(*parts)

    def prompt(self, prompt: Text) -> RichText:
        """The prompt, dimmed, its middle replaced by ``… 12 lines …`` where it is long."""
        return RichText(_shorten(visible(_prompt_text(prompt)), self.prompt_lines), style=_FAINT)

    def response(self, segments: Sequence[SegmentView]) -> RichText:
        """The whole response text, never shortened, with every border marked."""
        line = RichText()
        for number, segment in enumerate(segments):
            if number > 0:
                line.append(BORDER, _MARK)
            self._segment(line, segment)
        return line

    def _segment(self, line: RichText, segment: SegmentView) -> None:
        text = visible(segment.text) or NO_TEXT
        if self.colour:
            line.append(text, self._style(segment.reward, keep=segment.keep))
        else:
            text = f"[?{text}?]" if segment.reward is None else text
            line.append(text if segment.keep else f"[-{text}-]")
        if self.values and segment.reward is not None:
            line.append(f"{{{segment.reward:.3g}}}", Style(italic=True))

    def _heading(self, response: ResponseView) -> RichText:
        kept = sum(segment.keep for segment in response.segments)
        reward = "unknown" if response.reward is None else f"{response.reward:.3g}"
        line = RichText(response.side, style=_MARK)
        line.append(
            f"  reward {reward}   {kept:,} of {len(response.segments):,} segments and "
            f"{response.kept_tokens:,} of {response.tokens:,} tokens kept",
            Style(bold=False),
        )
        if response.other_messages:
            line.append(f"   {response.other_messages:,} messages of others not shown", Style(bold=False))
        return line

    def _style(self, reward: float | None, *, keep: bool) -> Style:
        if reward is None:
            return _FAINT if keep else _FAINT + Style(strike=True)
        fill, ink, dropped = _STEPS[self.scale.step(reward)]
        return Style(bgcolor=fill, color=ink) if keep else Style(color=dropped, strike=True)


def show_rows(console: Console, rows: Sequence[RowView], *, values: bool = False) -> None:
    """Print rows and their legend, in colour where the console has colour."""
    unknown = any(part.reward is None for row in rows for side in row.responses for part in side.segments)
    view = TerminalView(scale_for(rows), colour=has_colour(console), values=values, unknown=unknown)
    console.print(view.legend(), highlight=False)
    for row in rows:
        console.print(view.row(row), highlight=False)


def has_colour(console: Console) -> bool:
    """True where a console writes colour; ``NO_COLOR`` and files do not."""
    return console.color_system is not None and not console.no_color


def _prompt_text(prompt: Text) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message.get('role')}: {message.get('content') or ''}" for message in prompt)


def _shorten(text: str, lines: int) -> str:
    # The end of a prompt says most about the response, so more of it stays.
    parts = text.strip("\n").split("\n")
    if len(parts) > lines:
        head, tail = lines // 3, lines - lines // 3
        middle = f"… {len(parts) - head - tail:,} lines …"
        parts = [*parts[:head], middle, *parts[-tail:]]
    return "\n".join(_shorten_line(part) for part in parts)


def _shorten_line(line: str, longest: int = 600) -> str:
    if len(line) <= longest:
        return line
    half = longest // 2
    return f"{line[:half]} … {len(line) - 2 * half:,} characters … {line[-half:]}"
