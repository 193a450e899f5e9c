"""Rows as a context shows them: what stands before a response, rendered for each response by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from asr_data.errors import RowRejected
from asr_data.response import response_text
from asr_data.rows.columns import column_value
from asr_data.scoring.config import PromptConfig
from asr_data.scoring.context_config import ContextConfig, Sides, column_of, context_messages
from asr_data.scoring.context_template import needs_of, render
from asr_data.scoring.model_scorer import NOTHING_READ, Encoder, Reading
from asr_data.scoring.prompting import as_prompted
from asr_data.types import ByteRewards, Completion, Float32, Message, Row, Text

_TURNS: Final = PromptConfig(strings="turns")
_BETWEEN: Final = "\n\n"


class Contexts:
    """Shows rows in one or several contexts.

    Args:
        contexts: the contexts, in the order of their views.
        sides: the responses that are spoken of.
        conversations: whether the model has a chat template: then a prompt that is a text becomes a user message, as
            soon as a context is another than the prompt. Else messages become texts, one after the other.
    """

    def __init__(self, contexts: Sequence[ContextConfig], sides: Sides, *, conversations: bool) -> None:
        self._contexts, self._sides, self._conversations = tuple(contexts), sides, conversations
        self._plain = all(context == "prompt" for context in contexts)

    @property
    def are_default(self) -> bool:
        """Whether every response is read after its prompt alone."""
        return self._plain and self._sides == "both"

    def views(self, row: Row) -> list[tuple[Row, ...] | None]:
        """For each response, the row as every context shows it, with that response alone; None: it is unknown.

        A response is unknown where it is of a side that is not spoken of, and where what a context shows is not there:
        another answer, a text in a column.

        Raises:
            RowRejected: ``no_context``: no response is left.
        """
        shown = [self._response(row, place) for place in range(len(row.completions))]
        if all(view is None for view in shown):
            raise RowRejected("no_context", self._why_none(row))
        return shown

    def shown(self, row: Row, place: int, source: str) -> str:
        """The text that ``better-answer``, ``other-row`` or ``column:NAME`` shows of a row; empty where there is none.

        A preferred response has no better answer.
        """
        completion = row.completions[place]
        if source == "better-answer":
            return "" if completion.preferred else other_answer(row, place)
        if source == "other-row":
            return "" if row.elsewhere is None else _best(row.elsewhere)
        column = column_of(source, completion.side)
        return "" if column is None else _column_text(row, column)

    def beside(self, row: Row, place: int) -> Row | None:
        """The row as the first context shows it, with one response alone, whatever its side; None where what the
        context shows is not there."""
        return self._view(row, place, self._contexts[0])

    def speaks_of(self, completion: Completion) -> bool:
        """Whether the response is of a side that is spoken of."""
        return self._sides == "both" or completion.preferred == (self._sides == "chosen")

    def _response(self, row: Row, place: int) -> tuple[Row, ...] | None:
        if not self.speaks_of(row.completions[place]):
            return None
        views = [self._view(row, place, context) for context in self._contexts]
        known = [view for view in views if view is not None]
        return tuple(known) if len(known) == len(views) else None

    def _view(self, row: Row, place: int, context: ContextConfig) -> Row | None:
        alone = replace(row, completions=(row.completions[place],), above=(), between=(), below=(), elsewhere=None)
        if not self._plain and self._conversations:
            alone = as_prompted(alone, _TURNS)
        if context == "prompt":
            return alone
        messages = context_messages(context)
        variables = self._variables(row, place, context, alone.prompt)
        for message in messages:
            needs = needs_of(message.content)
            shown = [variables["row"][column] for column in needs.needed]
            shown += [variables.get(name) for name in needs.variables - {"prompt"}]
            if not all(shown):
                return None
        rendered = [{"role": message.role, "content": render(message.content, variables)} for message in messages]
        return replace(alone, prompt=_replaced(alone.prompt, rendered))

    def _variables(self, row: Row, place: int, context: ContextConfig, prompt: Text) -> dict[str, Any]:
        found: dict[str, Any] = {}
        columns = {} if isinstance(context, str) else {c: None for m in context for c in needs_of(m.content).columns}
        for column in columns:
            found[column] = _column_text(row, column)
        if isinstance(context, str) and context.partition(":")[0] in ("better-answer", "other-row", "column"):
            found["_shown"] = self.shown(row, place, context)
        completion = row.completions[place]
        return {
            **found,
            "row": found,
            "prompt": _question(prompt),
            "other": other_answer(row, place),
            "others": _others(row, place),
            "verdict": "chosen" if completion.preferred else "rejected",
        }

    def _why_none(self, row: Row) -> str:
        if not any(self.speaks_of(completion) for completion in row.completions):
            return f"the scorer reads {self._sides} responses, and the row has none"
        wanted = ", ".join(c if isinstance(c, str) else "the context's template" for c in self._contexts)
        return f"what the context shows ({wanted}) is missing for every response of the row"


class ContextEncoder:
    """Puts each response to a model's encoder in a context; see :class:`asr_data.scoring.model_scorer.Encoder`."""

    def __init__(self, encoder: Encoder, contexts: Contexts) -> None:
        self.encoder, self._contexts = encoder, contexts

    def encode(self, row: Row) -> list[Reading]:
        """Readings of the responses that are spoken of; nothing is read of the others."""
        return [
            NOTHING_READ if views is None else self.encoder.encode(views[0])[0] for views in self._contexts.views(row)
        ]

    def rewards(self, reading: Reading, values: Float32) -> ByteRewards:
        """Those of the encoder."""
        return self.encoder.rewards(reading, values)


def other_answer(row: Row, place: int) -> str:
    """The text of the pair's other answer; empty where there is none but white space."""
    return next((_answer(c.content) for at, c in enumerate(row.completions) if at != place), "")


def _others(row: Row, place: int) -> list[str]:
    """All other answers of a row, best first."""
    completion = row.completions[place]
    ranked: list[Text] = [*row.above, *(c.content for c in row.completions if c.preferred and c is not completion)]
    ranked += row.between
    ranked += [c.content for c in row.completions if not c.preferred and c is not completion]
    ranked += row.below
    return list(filter(None, map(_answer, ranked)))


def _best(row: Row) -> str:
    return _answer(next((c for c in row.completions if c.preferred), row.completions[0]).content)


def _answer(content: Text) -> str:
    """What the assistant wrote; empty where that is nothing but white space."""
    text = response_text(content)
    return _checked(text, "another answer of the row") if text.strip() else ""


def _checked(text: str, place: str) -> str:
    if "\0" in text:
        raise RowRejected("nul_byte", f"{place} holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowRejected("invalid_unicode", f"{place} holds a lone surrogate: {error}") from error
    return text


def _question(prompt: Text) -> str:
    """The text of the last user message."""
    if isinstance(prompt, str):
        return prompt
    return str(prompt[_last_user(prompt)].get("content") or "")


def _last_user(prompt: Sequence[Message]) -> int:
    for place in range(len(prompt) - 1, -1, -1):
        if prompt[place]["role"] == "user":
            return place
    raise RowRejected("no_context", "the prompt has no user message, in whose place a context stands")


def _replaced(prompt: Text, messages: list[dict[str, str]]) -> Text:
    """The prompt with messages in place of its last user message; a system message joins the prompt's own, in front."""
    if isinstance(prompt, str):
        return _BETWEEN.join(message["content"] for message in messages)
    place = _last_user(prompt)
    system = [message for message in messages if message["role"] == "system"]
    earlier, later = list(prompt[:place]), list(prompt[place + 1 :])
    if system and earlier and earlier[0]["role"] == "system":
        joined = _BETWEEN.join(filter(None, [str(earlier[0].get("content") or ""), system[0]["content"]]))
        system, earlier = [{**earlier[0], "content": joined}], earlier[1:]
    turns = [message for message in messages if message["role"] != "system"]
    return [*system, *earlier, *turns, *later]


def _column_text(row: Row, column: str) -> str:
    """What stands in a column: a text, a number, or texts one after the other; empty where there is nothing."""
    text = _checked(_value_text(column_value(row.source, column), column), f"column {column!r}")
    return text if text.strip() else ""


def _value_text(value: Any, column: str) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool() | int() | float():
            return str(value)
        case [*items] if all(isinstance(item, Mapping) and "role" in item for item in items):
            return response_text(items)
        case [*items]:
            return "\n".join(filter(None, [_value_text(item, column) for item in items]))
        case _:
            raise RowRejected(
                "wrong_type",
                f"column {column!r} is {type(value).__name__}; a context shows texts, numbers or lists of them",
            )
