"""The answer of an OpenAI-compatible server, read with care: servers differ, and some send anything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

NO_COMPLETION: Final = "the server's answer was not a chat completion"

_MOST_TOKENS: Final = 10**12


def _none_if_invalid(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """None in place of an invalid value: a reply is not lost because of what stands beside it."""
    try:
        return handler(value)
    except ValidationError:
        return None


def _storable(value: Any) -> Any:
    """A text without halves of surrogate pairs, which JSON can spell and no file can hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


_Text = Annotated[str, BeforeValidator(_storable)]
_Count = Annotated[Annotated[int, Field(ge=0, le=_MOST_TOKENS)] | None, WrapValidator(_none_if_invalid)]


class _Part(BaseModel):
    text: _Text = ""


class _Message(BaseModel):
    content: _Text | list[_Part] | None = None
    refusal: Annotated[_Text | None, WrapValidator(_none_if_invalid)] = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class _Choice(BaseModel):
    message: _Message
    finish_reason: Annotated[str | None, WrapValidator(_none_if_invalid)] = None


class _Usage(BaseModel):
    prompt_tokens: _Count = None
    completion_tokens: _Count = None


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: Annotated[_Usage | None, WrapValidator(_none_if_invalid)] = None


@dataclass(frozen=True, slots=True)
class Completed:
    """What a server answered.

    Attributes:
        reply: the model's text.
        tokens_in, tokens_out: tokens sent and received; 0 where the count is missing or impossible.
        problem: why the reply is unusable, if that is already known.
        is_refused: the problem is that the model, or a filter before it, declined.
    """

    reply: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    problem: str | None = None
    is_refused: bool = False


def read_completion(body: bytes) -> Completed:
    """The answer in the body of an HTTP answer."""
    try:
        completion = _Completion.model_validate(json.loads(body))
    except (ValueError, RecursionError):  # ValidationError is a ValueError
        return Completed(problem=NO_COMPLETION)
    usage = completion.usage or _Usage()
    choice = completion.choices[0]
    text, refusal = choice.message.text, choice.message.refusal
    problem = {
        "length": "it was cut off by the limit of tokens",
        "content_filter": "it was withheld by a filter of contents",
    }.get(choice.finish_reason or "")
    if refusal and not text.strip():
        text, problem = refusal, "the model refused to answer"
    refused = problem is not None and choice.finish_reason != "length"
    return Completed(text, usage.prompt_tokens or 0, usage.completion_tokens or 0, problem, refused)
