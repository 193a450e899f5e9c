"""Requests to one model for chat completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from asr_data.endpoints.completion import NO_COMPLETION, Completed, read_completion
from asr_data.endpoints.config import EndpointModel, RequestSettings, ResponseFormat
from asr_data.endpoints.replies import MalformedReplyError, RefusedReplyError, reminded
from asr_data.errors import EndpointError
from asr_data.http.connection import Connection, Purpose, RequestFailedError

__all__ = ["Client", "Exchange", "ReplyForm", "RequestFailedError", "Role"]

T = TypeVar("T")
U = TypeVar("U")

UNREADABLE_REPLIES: Final = 10
"""If this many replies of a model cannot be parsed and none was, the run ends."""
FORMATS: Final[tuple[ResponseFormat, ...]] = ("json_schema", "json_object", "text")
"""From the strictest to the loosest, as ``auto`` tries them."""


@dataclass(frozen=True, slots=True)
class Role:
    """What models are asked for, in the words of messages.

    Attributes:
        noun: ``judge``.
        answers: what they give, plural.
        missing: the same where it is not there.
        error: raised when a model cannot be asked.
        form: a sentence that shows a reply.
    """

    noun: str
    answers: str
    missing: str
    error: type[EndpointError]
    form: str


@dataclass(frozen=True, slots=True)
class ReplyForm(Generic[T]):
    """The form of a reply.

    Attributes:
        name: of the schema, for the server.
        schema: for servers that constrain replies to one.
        read: from a reply, and what takes secrets out of a text, to the answer; raises ``MalformedReplyError``.
    """

    name: str
    schema: dict[str, Any]
    read: Callable[[str, Callable[[str], str]], T]


@dataclass(frozen=True, slots=True)
class Exchange(Generic[T]):
    """All attempts to get one answer.

    Attributes:
        answer: None if no reply could be parsed.
        problem, reply: of the last attempt, if it could not be parsed.
        is_refused: the last attempt was a refusal to answer.
        attempts: number of requests.
        tokens_in, tokens_out: over all attempts.
    """

    answer: T | None = None
    problem: str | None = None
    reply: str | None = None
    is_refused: bool = False
    attempts: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def with_answer(self, answer: U | None) -> Exchange[U]:
        """The same with another answer."""
        return Exchange(
            answer, self.problem, self.reply, self.is_refused, self.attempts, self.tokens_in, self.tokens_out
        )


class Client:
    """A connection to one model.

    Args:
        model: the model and its endpoint.
        requests: retries, time-out and attempts.
        role: what it is asked for.

    Attributes:
        model: as given.
        role: as given.
        is_understood: whether a reply of this model has been parsed, now or in an earlier run.
        response_format: what the server is asked for; None until it is known what it takes.

    Raises:
        ConfigError: the key, a proxy of the environment or the address cannot be used.
        MissingDependencyError: the package ``openai`` is not installed.
    """

    def __init__(self, model: EndpointModel, requests: RequestSettings, role: Role) -> None:
        self.model, self.role = model, role
        self.is_understood = False
        self.response_format = None if model.response_format == "auto" else model.response_format
        self._unreadable = 0
        self._attempts = requests.attempts
        purpose = Purpose(self._place, role.noun, "judge", role.error)
        self._connection = Connection(
            model.endpoint, model.key_variable, purpose, timeout=requests.timeout, retries=requests.retries
        )

    @property
    def _place(self) -> str:
        return f"{self.role.noun} {self.model.title!r} at {self.model.endpoint}"

    async def ask(
        self, messages: list[dict[str, str]], form: ReplyForm[T], attempts: int | None = None, seed: int | None = None
    ) -> Exchange[T]:
        """Send the messages until a reply can be parsed, up to the limit of attempts.

        Args:
            messages: the prompt.
            form: what a reply looks like.
            attempts: in place of the number in the settings.
            seed: for the server's random generator; None sends none.

        Raises:
            RequestFailedError: a request failed after all retries.
            EndpointError: every other request to this model would fail as well, or none of its first
                :data:`UNREADABLE_REPLIES` replies could be parsed.
        """
        exchange: Exchange[T] = Exchange()
        asked = messages
        while exchange.attempts < (attempts or self._attempts):
            done = await self._request(asked, form, seed)
            exchange = replace(
                exchange,
                attempts=exchange.attempts + 1,
                tokens_in=exchange.tokens_in + done.tokens_in,
                tokens_out=exchange.tokens_out + done.tokens_out,
            )
            try:
                if done.problem is not None:
                    raise (RefusedReplyError if done.is_refused else MalformedReplyError)(done.problem)
                answer = form.read(done.reply, self._connection.redacted)
                self.is_understood = True
                return replace(exchange, answer=answer, problem=None, reply=None, is_refused=False)
            except MalformedReplyError as malformed:
                refused = isinstance(malformed, RefusedReplyError)
                exchange = replace(
                    exchange, problem=str(malformed), reply=self._connection.redacted(done.reply), is_refused=refused
                )
                self._count_unreadable(str(malformed), done.reply)
                asked = reminded(messages, str(malformed))
        return exchange

    def _count_unreadable(self, problem: str, reply: str) -> None:
        """Say so early when a model replies in a form that is not known, instead of after all that it costs."""
        self._unreadable += 1
        if self.is_understood or self._unreadable < UNREADABLE_REPLIES:
            return
        raise self.role.error(
            f"{self._place}: none of its first {self._unreadable} replies could "
            f"be read, so it is not asked again. The last one: {problem}: "
            f"{self._connection.printable(reply)!r}. {self.role.form}"
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    async def _request(self, messages: Sequence[dict[str, str]], form: ReplyForm[Any], seed: int | None) -> Completed:
        """A reply, in the strictest format that the server is known to take, or else takes now."""
        if self.response_format is not None:
            return await self._post(_body(self.model, messages, form, self.response_format, seed))
        for style in FORMATS:
            try:
                done = await self._post(_body(self.model, messages, form, style, seed))
            except RequestFailedError as failure:
                if style == FORMATS[-1] or not failure.may_be_format:
                    raise
            else:
                self.response_format = self.response_format or style
                return done
        raise AssertionError  # the last format returns or raises

    async def _post(self, body: dict[str, Any]) -> Completed:
        from openai import OpenAIError

        try:
            content = await self._connection.post("/chat/completions", body)
        except (OpenAIError, ValueError) as error:
            return Completed(problem=f"{NO_COMPLETION}: {self._connection.printable(str(error))}")
        return read_completion(content)


def _body(
    model: EndpointModel,
    messages: Sequence[dict[str, str]],
    form: ReplyForm[Any],
    style: ResponseFormat,
    seed: int | None,
) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model.model, "messages": messages, model.token_limit: model.max_tokens}
    if model.temperature is not None:
        body["temperature"] = model.temperature
    if seed is not None:
        body["seed"] = seed
    match style:
        case "json_object":
            body["response_format"] = {"type": "json_object"}
        case "json_schema":
            schema = {"name": form.name, "schema": form.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {**body, **model.extra_body}
