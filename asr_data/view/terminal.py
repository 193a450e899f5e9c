"""Annotated rows in the terminal: segments coloured by reward, dropped ones struck out.

Blue is above the response's baseline and orange below, on a diverging scale that the common colour-vision deficiencies
keep apart. What is unknown is dim, and what gold labels call faulty is underlined. Without colour the same facts are in
brackets: ``[-dropped-]``, ``[?unknown?]``, ``{~faulty~}``. Everything is built from ``rich.Text``, never from markup,
and data set text goes through :func:`asr_data.view.escape.visible` first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.style import Style
from rich.text import Text as RichText

from asr_data.types import Text
from asr_data.view.escape import visible
from asr_data.view.model import GoldSpan, ResponseView, RowView, SegmentView, cut_at_gold

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
# The same for terminals with 16 colours, whose tones are the user's own; what is near the baseline is grey. The nearest
# of the colours above would be white on yellow, and red.
_STEPS_OF_16 = (
    ("yellow", "black", "yellow"),
    ("bright_yellow", "black", "yellow"),
    ("white", "black", "bright_black"),
    ("white", "black", "bright_black"),
    ("white", "black", "bright_black"),
    ("bright_cyan", "black", "cyan"),
    ("blue", "bright_white", "bright_blue"),
)
_HEIGHTS = "▁▂▃▄▅▆▇█"
_FAINT = Style(dim=True)
_MARK = Style(bold=True)
_FAULTY = Style(underline=True)


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps rewards to colour steps: a response's baseline is neutral, ``baseline ± spread`` and beyond are the ends.

    ``centre`` stands in for a baseline that is not known.
    """

    centre: float
    spread: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.centre) and math.isfinite(self.spread) and self.spread > 0):
            raise ValueError(
                f"a scale needs a finite centre and a finite spread > 0, not {self.centre} and {self.spread}"
            )

    def step(self, reward: float, baseline: float | None = None) -> int:
        """Index of the colour step of ``reward``, 0 (worst) to 6 (best)."""
        neutral = self.centre if baseline is None else baseline
        position = max(-1.0, min(1.0, (reward - neutral) / self.spread))
        half = len(_STEPS) // 2
        return half + round(position * half)


def scale_for(rows: Iterable[RowView]) -> Scale:
    """A scale for these rows, reaching to the 95th percentile of the distances from the baseline.

    The centre is the median of the segment rewards. Rows whose segments are all at the baseline get spread 1.
    """
    parts = [
        (part.reward, side.decision.baseline)
        for row in rows
        for side in row.responses
        for part in side.segments
        if part.reward is not None
    ]
    if not parts:
        return Scale(0.0, 1.0)
    rewards = sorted(reward for reward, _ in parts)
    centre = rewards[len(rewards) // 2]
    distances = sorted(abs(reward - (centre if baseline is None else baseline)) for reward, baseline in parts)
    spread = distances[min(len(distances) - 1, math.ceil(0.95 * len(distances)))]
    return Scale(centre, spread if spread > 0 else 1.0)


@dataclass(frozen=True, slots=True)
class TerminalView:
    """How rows are shown.

    Attributes:
        scale: rewards to colours.
        colour: false writes ``[-dropped-]`` brackets in place of styles.
        steps: the colours of the scale's steps: of a kept segment's ground and text, and of a dropped one's text.
        values: write each segment's reward after it.
        curve: columns for a curve of the token rewards above each response; None draws none.
        unknown: there are unknown rewards, for the legend to explain.
        gold: there are gold labels, for the legend to explain.
        baseline: baselines are known, and the scale is around them.
        prompt_lines: longest prompt shown in full; a longer one says how many lines were left out.
    """

    scale: Scale
    colour: bool
    values: bool = False
    curve: int | None = None
    unknown: bool = False
    gold: bool = False
    baseline: bool = False
    prompt_lines: int = 8
    steps: Sequence[tuple[str, str, str]] = _STEPS

    def legend(self) -> RichText:
        """One line that explains colours and marks."""
        low, high = self._ends()
        line = RichText()
        if self.colour:
            line.append(f"segment reward {low} ")
            for fill, ink, _ in self.steps:
                line.append("  ", Style(bgcolor=fill, color=ink))
            line.append(f" {high}   ")
            line.append("kept", self._style(self.scale.centre, keep=True)).append("  ")
            line.append("dropped", self._style(self.scale.centre, keep=False)).append("  ")
            if self.unknown:
                line.append("unknown", _FAINT).append("  ")
            if self.gold:
                line.append("faulty by gold", _FAULTY).append("  ")
        else:
            line.append("kept  [-dropped-]  " + ("[?unknown?]  " if self.unknown else ""))
            line.append("{~faulty by gold~}  " if self.gold else "")
        line.append(BORDER, _MARK).append(f" next segment  {NO_TEXT} no text of its own")
        return line

    def _ends(self) -> tuple[str, str]:
        centre, spread = self.scale.centre, self.scale.spread
        if self.baseline:
            return f"b − {spread:.3g}", f"b + {spread:.3g}"
        return f"{centre - spread:.3g}", f"{centre + spread:.3g}"

    def row(self, row: RowView, *, prompt: bool = True) -> RenderableType:
        """One row: a rule with its index and notes, the prompt, and each response."""
        title = row.name + "".join(f"  {visible(note)}" for note in row.notes)
        if row.gold_error is not None:
            title += f"  gold labels not shown: {visible(row.gold_error)}"
        parts: list[RenderableType] = [Rule(RichText(title), align="left", style=_FAINT)]
        if prompt:
            parts.append(Padding(self.prompt(row.prompt), (0, 0, 1, 2)))
        for response in row.responses:
            parts.append(self._heading(response))
            if self.curve is not None:
                parts.append(Padding(self._curve(response, self.curve), (0, 0, 0, 2)))
            parts.append(Padding(self.response(response), (0, 0, 1, 2)))
        return Group(*parts)

    def prompt(self, prompt: Text) -> RichText:
        """The prompt, dimmed, its middle replaced by ``… 12 lines …`` where it is long."""
        return RichText(_shorten(visible(prompt_text(prompt)), self.prompt_lines), style=_FAINT)

    def response(self, response: ResponseView) -> RichText:
        """The whole response text, never shortened, with every boundary marked."""
        line = RichText()
        position = 0
        for number, segment in enumerate(response.segments):
            if number > 0:
                line.append(BORDER, _MARK)
            faults = [span for span in response.gold if span.faulty]
            self._segment(line, segment, cut_at_gold(segment.text, position, faults), response.decision.baseline)
            position += len(segment.text)
        return line

    def _segment(
        self,
        line: RichText,
        segment: SegmentView,
        pieces: Sequence[tuple[str, GoldSpan | None]],
        baseline: float | None,
    ) -> None:
        texts = [(visible(text) or NO_TEXT, fault is not None) for text, fault in pieces]
        if self.colour:
            style = self._style(segment.reward, baseline, keep=segment.keep)
            for text, faulty in texts:
                line.append(text, style + _FAULTY if faulty else style)
        else:
            whole = "".join(f"{{~{text}~}}" if faulty else text for text, faulty in texts)
            whole = f"[?{whole}?]" if segment.reward is None else whole
            line.append(whole if segment.keep else f"[-{whole}-]")
        if self.values and segment.reward is not None:
            line.append(f"{{{segment.reward:.3g}}}", Style(italic=True))

    def _curve(self, response: ResponseView, columns: int) -> RichText:
        """Token rewards as heights between the response's own lowest and highest, which stand behind the curve.

        A column is a token, or the mean of several where there are more tokens than columns.
        """
        known = [reward for reward in response.token_reward if reward is not None]
        if not known:
            return RichText("no token rewards", style=_FAINT)
        low, high = min(known), max(known)
        ends = f" {low:.3g} to {high:.3g}"
        line = RichText()
        for reward in _means(response.token_reward, max(1, columns - len(ends))):
            if reward is None:
                line.append(" ")
                continue
            height = round((reward - low) / (high - low) * (len(_HEIGHTS) - 1)) if high > low else 0
            step = self.steps[self.scale.step(reward, response.decision.baseline)]
            line.append(_HEIGHTS[height], Style(color=step[2]) if self.colour else Style())
        return line.append(ends, Style(italic=True))

    def _heading(self, response: ResponseView) -> RichText:
        kept = sum(segment.keep for segment in response.segments)
        reward = "unknown" if response.reward is None else f"{response.reward:.3g}"
        line = RichText(response.side, style=_MARK)
        line.append(
            f"  reward {reward}{_compared_with(response)}   {kept:,} of {len(response.segments):,} segments and "
            f"{response.kept_tokens:,} of {response.tokens:,} tokens kept{_weighted(response)}",
            Style(bold=False),
        )
        if response.other_messages:
            line.append(f"   {response.other_messages:,} messages of others not shown", Style(bold=False))
        return line

    def _style(self, reward: float | None, baseline: float | None = None, *, keep: bool) -> Style:
        if reward is None:
            return _FAINT if keep else _FAINT + Style(strike=True)
        fill, ink, dropped = self.steps[self.scale.step(reward, baseline)]
        return Style(bgcolor=fill, color=ink) if keep else Style(color=dropped, strike=True)


def show_rows(
    console: Console, rows: Sequence[RowView], *, values: bool = False, curve: bool = False, again: bool = False
) -> None:
    """Print rows and their legend, in colour where the console has colour.

    Args:
        console: where to.
        rows: what.
        values: write each segment's reward after it.
        curve: draw the token rewards above each response.
        again: these rows are on the screen already, otherwise rewarded: their prompts are not printed once more, and of
            the legend only the colours, which depend on the rewards.
    """
    sides = [side for row in rows for side in row.responses]
    view = TerminalView(
        scale_for(rows),
        colour=has_colour(console),
        values=values,
        curve=console.width - 2 if curve else None,
        unknown=any(part.reward is None for side in sides for part in side.segments),
        gold=any(span.faulty for side in sides for span in side.gold),
        baseline=any(side.decision.baseline is not None for side in sides),
        steps=_STEPS_OF_16 if console.color_system in ("standard", "windows") else _STEPS,
    )
    if view.colour or not again:
        console.print(view.legend(), highlight=False)
    for row in rows:
        console.print(view.row(row, prompt=not again), highlight=False)


def has_colour(console: Console) -> bool:
    """True where a console writes colour; ``NO_COLOR`` and files do not."""
    return console.color_system is not None and not console.no_color


def _means(rewards: Sequence[float | None], columns: int) -> list[float | None]:
    """Means of known rewards in equal stretches, one a column; None where a stretch has none."""
    count = min(columns, len(rewards))
    borders = [round(i * len(rewards) / count) for i in range(count + 1)]
    stretches = ([r for r in rewards[a:z] if r is not None] for a, z in pairwise(borders))
    return [sum(known) / len(known) if known else None for known in stretches]


def _compared_with(response: ResponseView) -> str:
    decision = response.decision
    if decision.baseline is None:
        return ""
    return f", b {decision.baseline:.3g}" + ("" if decision.delta is None else f" ± {decision.delta:.3g}")


def _weighted(response: ResponseView) -> str:
    """``, weights 0.21 to 3.4, mean 1.1``: of the tokens with a weight."""
    weights = [weight for weight in response.weights or () if weight > 0]
    if not weights:
        return ""
    mean = sum(weights) / len(weights)
    return f", {len(weights):,} with weights {min(weights):.3g} to {max(weights):.3g}, mean {mean:.3g}"


def prompt_text(prompt: Text) -> str:
    """A prompt as one text, each message after its role."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message.get('role')}: {message.get('content') or ''}" for message in prompt)


def _shorten(text: str, lines: int) -> str:
    # The end of a prompt says most about the response, so more of it stays.
    parts = text.strip("\n").split("\n")
    if len(parts) > lines:
        head, tail = lines // 3, lines - lines // 3
        left = len(parts) - head - tail
        middle = f"… {left:,} line{'s' if left > 1 else ''} …"
        parts = [*parts[:head], middle, *parts[-tail:]]
    return "\n".join(_shorten_line(part) for part in parts)


def _shorten_line(line: str, longest: int = 600) -> str:
    if len(line) <= longest:
        return line
    half = longest // 2
    return f"{line[:half]} … {len(line) - 2 * half:,} characters … {line[-half:]}"
