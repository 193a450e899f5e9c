"""The answers of a row between its best and its worst, which no pair is made of."""

from __future__ import annotations

from collections.abc import Sequence

from asr_data.types import Message, Text


def between(responses: Sequence[Text], order: Sequence[int], prompt: Text) -> tuple[Text, ...]:
    """The answers between the first and the last of ``order``, in that order.

    Args:
        responses: all answers of the row; conversations may begin with the prompt.
        order: their indices, best first.
        prompt: of the row.
    """
    inner = [responses[at] for at in order[1:-1]]
    return tuple(answer if isinstance(answer, str) else _without(answer, prompt) for answer in inner)


def best_first(numbers: Sequence[float], best: int, worst: int, *, lowest_is_best: bool) -> list[int]:
    """Indices by score or rank, with the pair that was chosen at both ends; of equals the first."""
    sign = 1 if lowest_is_best else -1
    inner = [at for at in range(len(numbers)) if at not in (best, worst)]
    return [best, *sorted(inner, key=lambda at: (sign * numbers[at], at)), worst]


def _without(answer: Sequence[Message], prompt: Text) -> list[Message]:
    """What follows the prompt; where a conversation begins with a text prompt, its own user message goes."""
    messages = list(answer)
    if not isinstance(prompt, str) and messages[: len(prompt)] == list(prompt):
        return messages[len(prompt) :]
    first = next((at for at, message in enumerate(messages) if message["role"] == "assistant"), 0)
    return messages[first:]
