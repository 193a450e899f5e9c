"""The answers of a row that has several, put in order, and what stands beside a pair of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from asr_data.errors import RowRejected
from asr_data.types import Message, Text


@dataclass(frozen=True, slots=True)
class Answers:
    """All answers of a row.

    Attributes:
        texts: as they stand in the row.
        numbers: a score, rank or verdict of each.
        order: places of ``texts``, best first; the pair ``best-worst`` is at its ends.
        column: where the numbers come from, for messages.
    """

    texts: Sequence[Text]
    numbers: Sequence[float]
    order: Sequence[int]
    column: str

    def require_gap(self, better: int, worse: int, least: float) -> None:
        """Refuse two places of the order whose numbers are equal, or less than ``least`` apart.

        Raises:
            RowRejected: ``no_preference`` or ``small_gap``.
        """
        places = self.order[better], self.order[worse]
        one, other = (Decimal(repr(float(self.numbers[place]))) for place in places)  # 0.3 and 0.2 are 0.1 apart
        named = f"column {self.column!r}: answers {places[0]} and {places[1]}"
        if one == other:
            raise RowRejected("no_preference", f"{named} are equal: neither is better")
        gap = abs(one - other)
        if gap < Decimal(repr(least)):
            raise RowRejected("small_gap", f"{named} are {float(gap):g} apart; at least {least:g} is asked for")

    def beside(
        self, better: int, worse: int, prompt: Text
    ) -> tuple[tuple[Text, ...], tuple[Text, ...], tuple[Text, ...]]:
        """The answers above, between and below two places of the order, each best first.

        Args:
            better, worse: the places.
            prompt: of the row; conversations may begin with it.
        """
        above, between, below = (
            tuple(_without(self.texts[place], prompt) for place in part)
            for part in (self.order[:better], self.order[better + 1 : worse], self.order[worse + 1 :])
        )
        return above, between, below


def best_first(numbers: Sequence[float], best: int, worst: int, *, lowest_is_best: bool) -> list[int]:
    """Indices by score or rank, with the pair that was chosen at both ends; of equals the first."""
    sign = 1 if lowest_is_best else -1
    inner = [at for at in range(len(numbers)) if at not in (best, worst)]
    return [best, *sorted(inner, key=lambda at: (sign * numbers[at], at)), worst]


def _without(answer: Text, prompt: Text) -> Text:
    """What follows the prompt; where a conversation begins with a text prompt, its own user message goes."""
    if isinstance(answer, str):
        return answer
    messages: list[Message] = list(answer)
    if not isinstance(prompt, str) and messages[: len(prompt)] == list(prompt):
        return messages[len(prompt) :]
    first = next((at for at, message in enumerate(messages) if message["role"] == "assistant"), 0)
    return messages[first:]
