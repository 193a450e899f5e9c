"""Requests to one judge through the ``openai`` client, which does its own waiting and retrying."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from asr_data.errors import ConfigError, JudgeError, MissingDependencyError
from asr_data.judging.completion import NO_COMPLETION, read_completion
from asr_data.judging.config import Judge, RequestSettings
from asr_data.judging.prompt import VERDICT_SCHEMA, reminded
from asr_data.judging.verdict import MalformedReplyError, Opinion, Order, read_reply
from asr_data.redact import Redactor, proxy_secrets, without_secrets

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

_LONGEST_MESSAGE = 300
_RETRIED = (408, 409, 429)  # by the client, as is 5xx
_HEADERS = ("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent")
"""What is sent beside the key."""
UNREADABLE_REPLIES: Final = 10
"""If this many replies of a judge cannot be parsed and none was, the run ends."""
_NO_KEY = "none"
"""The client requires a key; servers without keys ignore it."""
_FATAL = (401, 404)  # key, address or model is wrong: every other request would fail as well


class RequestFailedError(Exception):
    """A request that failed after all retries. Other requests may still succeed.

    Attributes:
        is_refusal: the server works and rejects this request.
    """

    def __init__(self, message: str, *, is_refusal: bool) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal


@dataclass(frozen=True, slots=True)
class Exchange:
    """All attempts to get one verdict.

    Attributes:
        opinion: None if no reply could be parsed.
        problem, reply: of the last attempt, if it could not be parsed.
        attempts: number of requests.
        tokens_in, tokens_out: over all attempts.
    """

    opinion: Opinion | None = None
    problem: str | None = None
    reply: str | None = None
    attempts: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class Client:
    """A connection to one judge.

    Args:
        judge: the model and its endpoint.
        requests: retries, time-out and attempts.

    Attributes:
        judge: as given.
        is_understood: whether a reply of this judge has been parsed, now or in an earlier run.

    Raises:
        ConfigError: the key, a proxy of the environment or the address cannot be used.
        MissingDependencyError: the package ``openai`` is not installed.
    """

    def __init__(self, judge: Judge, requests: RequestSettings) -> None:
        try:
            from openai import AsyncOpenAI

            from asr_data.judging.bounds import bounded_client
        except ImportError as error:
            raise MissingDependencyError("openai", "judge", "pip install 'asr-data[judge]'") from error
        self.judge = judge
        self.is_understood = False
        self._unreadable = 0
        self._attempts = requests.attempts
        self._key = _key(judge)
        self._redacted = Redactor([self._key, *proxy_secrets()])
        try:
            self._client: AsyncOpenAI = AsyncOpenAI(
                base_url=judge.endpoint,
                api_key=self._key or _NO_KEY,
                max_retries=requests.retries,
                timeout=requests.timeout,
                http_client=bounded_client(requests.timeout, [self._only_ours]),
            )
        except Exception as error:  # a proxy, a certificate file or an address that httpx2 cannot use
            reason = self._redacted(f"{type(error).__name__}: {error}")
            raise ConfigError(f"judge {judge.title!r} at {judge.endpoint}: cannot be set up: {reason}") from None

    async def ask(self, messages: list[dict[str, str]], order: Order) -> Exchange:
        """Send the messages until a reply can be parsed, up to the limit of attempts.

        Raises:
            RequestFailedError: a request failed after all retries.
            JudgeError: every other request to this judge would fail as well, or none of its first
                :data:`UNREADABLE_REPLIES` replies could be parsed.
        """
        exchange, asked = Exchange(), messages
        while exchange.attempts < self._attempts:
            reply, tokens_in, tokens_out, problem = await self._request(asked)
            exchange = replace(
                exchange,
                attempts=exchange.attempts + 1,
                tokens_in=exchange.tokens_in + tokens_in,
                tokens_out=exchange.tokens_out + tokens_out,
            )
            try:
                if problem is not None:
                    raise MalformedReplyError(problem)
                opinion = self._without_secrets(read_reply(reply, order))
                self.is_understood = True
                return replace(exchange, opinion=opinion, problem=None, reply=None)
            except MalformedReplyError as malformed:
                exchange = replace(exchange, problem=str(malformed), reply=self._redacted(reply))
                self._count_unreadable(str(malformed), reply)
                asked = reminded(messages, str(malformed))
        return exchange

    def _count_unreadable(self, problem: str, reply: str) -> None:
        """Say so early when a judge replies in a form that is not known, instead of after all that it costs."""
        self._unreadable += 1
        if self.is_understood or self._unreadable < UNREADABLE_REPLIES:
            return
        raise JudgeError(
            f"judge {self.judge.title!r} at {self.judge.endpoint}: none of its first {self._unreadable} replies could "
            f"be read, so it is not asked again. The last one: {problem}: {self._printable(reply)!r}. A reply holds "
            '{"verdict": "A", "safety": "A", "accuracy": "A", "helpfulness": "A", "reason": "…"} or '
            '{"judge": "[A]", "tag": ["Safety"], "reason": "…"}, with A, B or a tie'
        )

    def _without_secrets(self, opinion: Opinion) -> Opinion:
        tags = tuple(map(self._redacted, opinion.tags))
        return replace(opinion, reason=self._redacted(opinion.reason), tags=tags)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _request(self, messages: Sequence[dict[str, str]]) -> tuple[str, int, int, str | None]:
        """Reply, tokens sent, tokens received, and why the reply is unusable, if that is already known."""
        from httpx2 import Response
        from openai import APIConnectionError, APIStatusError, OpenAIError

        # Errors of the client quote what the server sent, which may be the key: hence `from None`.
        place = f"judge {self.judge.title!r} at {self.judge.endpoint}"
        try:
            response = await self._client.post("/chat/completions", cast_to=Response, body=_body(self.judge, messages))
        except APIStatusError as error:
            raise self._status_error(place, error) from None
        except APIConnectionError as error:  # time-outs, too
            cause = f": {error.__cause__}" if error.__cause__ is not None and str(error.__cause__) else ""
            message = f"{place}: {self._printable(error.message.rstrip('.') + cause)}"
            raise RequestFailedError(message, is_refusal=False) from None
        except (OpenAIError, ValueError) as error:
            return "", 0, 0, f"{NO_COMPLETION}: {self._printable(str(error))}"
        return read_completion(response.content)

    def _status_error(self, place: str, error: APIStatusError) -> Exception:
        """A status other than 2xx, as an error for this request or for all."""
        status = error.status_code
        if 300 <= status < 400:
            target = self._printable(without_secrets(error.response.headers.get("location", "")) or "no address")
            return JudgeError(
                f"{place}: answers with a redirect ({status}) to {target}. Redirects are not followed, since prompts, "
                "answers and the key are sent to the given endpoint alone; if the new address is right, give that one"
            )
        message = f"{place}: {status}: {self._printable(error.message)}"
        if status in _FATAL:
            state = "is set" if self._key else "is not set"
            hint = f"; the key is read from {self.judge.key_variable}, which {state}"
            return JudgeError(message + (hint if status == 401 else ""))
        return RequestFailedError(message, is_refusal=status < 500 and status not in _RETRIED)

    async def _only_ours(self, request: Any) -> None:
        """Take out of a request what the client adds from the environment: other keys, organisations, telemetry."""
        for name in set(request.headers) - set(_HEADERS):
            del request.headers[name]
        request.headers["Authorization"] = f"Bearer {self._key or _NO_KEY}"

    def _printable(self, text: str) -> str:
        """A server's message, shortened, without secrets."""
        text = self._redacted(text)
        return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]} …"


def _key(judge: Judge) -> str:
    """The API key, or an empty string."""
    key = os.environ.get(judge.key_variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{judge.key_variable}: the key contains characters that an HTTP header cannot hold")
    return key


def _body(judge: Judge, messages: Sequence[dict[str, str]]) -> dict[str, Any]:
    body: dict[str, Any] = {"model": judge.model, "messages": messages, judge.token_limit: judge.max_tokens}
    if judge.temperature is not None:
        body["temperature"] = judge.temperature
    match judge.response_format:
        case "json_object":
            body["response_format"] = {"type": "json_object"}
        case "json_schema":
            schema = {"name": "verdict", "schema": VERDICT_SCHEMA, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {**body, **judge.extra_body}
