"""Requests to one model through the ``openai`` client, which does its own waiting and retrying."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from asr_data.endpoints.completion import NO_COMPLETION, Completed, read_completion
from asr_data.endpoints.config import EndpointModel, RequestSettings, ResponseFormat
from asr_data.endpoints.replies import MalformedReplyError, RefusedReplyError, reminded
from asr_data.errors import ConfigError, EndpointError, MissingDependencyError
from asr_data.redact import Redactor, proxy_secrets, without_secrets

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

T = TypeVar("T")
U = TypeVar("U")

_LONGEST_MESSAGE = 300
_RETRIED = (408, 409, 429)  # by the client, as is 5xx
_HEADERS = ("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent")
"""What is sent beside the key."""
UNREADABLE_REPLIES: Final = 10
"""If this many replies of a model cannot be parsed and none was, the run ends."""
_NO_KEY = "none"
"""The client requires a key; servers without keys ignore it."""
_FATAL = (401, 404)  # key, address or model is wrong: every other request would fail as well
_TOO_LONG = re.compile(r"context.{0,3}(length|window|size)", re.IGNORECASE)
"""What servers say of a prompt that does not fit the model."""
_NO_FORMAT = (400, 422, 501)
"""Statuses of servers that do not know a response format."""
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


class RequestFailedError(Exception):
    """A request that failed after all retries. Other requests may still succeed.

    Attributes:
        is_refusal: the server works and rejects this request.
        is_too_long: it says that the prompt does not fit the model's context, which no retry can change.
        may_be_format: it may be the format of replies that the server does not know.
    """

    def __init__(
        self, message: str, *, is_refusal: bool, is_too_long: bool = False, may_be_format: bool = False
    ) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal
        self.is_too_long = is_too_long
        self.may_be_format = may_be_format and not is_too_long


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
        try:
            from openai import AsyncOpenAI

            from asr_data.endpoints.bounds import bounded_client
        except ImportError as error:
            raise MissingDependencyError("openai", role.noun, "pip install 'asr-data[judge]'") from error
        self.model, self.role = model, role
        self.is_understood = False
        self.response_format = None if model.response_format == "auto" else model.response_format
        self._unreadable = 0
        self._attempts = requests.attempts
        self._key = _key(model)
        self._redacted = Redactor([self._key, *proxy_secrets()])
        try:
            self._client: AsyncOpenAI = AsyncOpenAI(
                base_url=model.endpoint,
                api_key=self._key or _NO_KEY,
                max_retries=requests.retries,
                timeout=requests.timeout,
                http_client=bounded_client(requests.timeout, [self._only_ours]),
            )
        except Exception as error:  # a proxy, a certificate file or an address that httpx2 cannot use
            reason = self._redacted(f"{type(error).__name__}: {error}")
            raise ConfigError(f"{self._place}: cannot be set up: {reason}") from None

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
                answer = form.read(done.reply, self._redacted)
                self.is_understood = True
                return replace(exchange, answer=answer, problem=None, reply=None, is_refused=False)
            except MalformedReplyError as malformed:
                refused = isinstance(malformed, RefusedReplyError)
                exchange = replace(
                    exchange, problem=str(malformed), reply=self._redacted(done.reply), is_refused=refused
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
            f"be read, so it is not asked again. The last one: {problem}: {self._printable(reply)!r}. {self.role.form}"
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

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
        from httpx2 import Response
        from openai import APIConnectionError, APIStatusError, OpenAIError

        # Errors of the client quote what the server sent, which may be the key: hence `from None`.
        place = self._place
        try:
            response = await self._client.post("/chat/completions", cast_to=Response, body=body)
        except APIStatusError as error:
            raise self._status_error(place, error) from None
        except APIConnectionError as error:  # time-outs, too
            cause = f": {error.__cause__}" if error.__cause__ is not None and str(error.__cause__) else ""
            message = f"{place}: {self._printable(error.message.rstrip('.') + cause)}"
            raise RequestFailedError(message, is_refusal=False) from None
        except (OpenAIError, ValueError) as error:
            return Completed(problem=f"{NO_COMPLETION}: {self._printable(str(error))}")
        return read_completion(response.content)

    def _status_error(self, place: str, error: APIStatusError) -> Exception:
        """A status other than 2xx, as an error for this request or for all."""
        status = error.status_code
        if 300 <= status < 400:
            target = self._printable(without_secrets(error.response.headers.get("location", "")) or "no address")
            return self.role.error(
                f"{place}: answers with a redirect ({status}) to {target}. Redirects are not followed, since prompts, "
                "answers and the key are sent to the given endpoint alone; if the new address is right, give that one"
            )
        message = f"{place}: {status}: {self._printable(error.message)}"
        if status in _FATAL:
            state = "is set" if self._key else "is not set"
            hint = f"; the key is read from {self.model.key_variable}, which {state}"
            return self.role.error(message + (hint if status == 401 else ""))
        return RequestFailedError(
            message,
            is_refusal=status < 500 and status not in _RETRIED,
            is_too_long=status in (400, 413, 422) and _TOO_LONG.search(error.message) is not None,
            may_be_format=status in _NO_FORMAT,
        )

    async def _only_ours(self, request: Any) -> None:
        """Take out of a request what the client adds from the environment: other keys, organisations, telemetry."""
        for name in set(request.headers) - set(_HEADERS):
            del request.headers[name]
        request.headers["Authorization"] = f"Bearer {self._key or _NO_KEY}"

    def _printable(self, text: str) -> str:
        """A server's message, shortened, without secrets."""
        text = self._redacted(text)
        return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]} …"


def _key(model: EndpointModel) -> str:
    """The API key, or an empty string."""
    key = os.environ.get(model.key_variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{model.key_variable}: the key contains characters that an HTTP header cannot hold")
    return key


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
