"""Requests to one judge through the ``openai`` client, which does its own waiting and retrying."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from asr_data.errors import JudgeError, MissingDependencyError
from asr_data.judging.config import Judge, RequestSettings
from asr_data.judging.prompt import VERDICT_SCHEMA, reminded
from asr_data.judging.verdict import MalformedReplyError, Opinion, Order, read_reply

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_LONGEST_MESSAGE = 300
_RETRIED = (408, 409, 429)  # by the client, as is 5xx
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

    Raises:
        MissingDependencyError: the package ``openai`` is not installed.
    """

    def __init__(self, judge: Judge, requests: RequestSettings) -> None:
        try:
            from openai import AsyncOpenAI
        except ImportError as error:
            raise MissingDependencyError("openai", "judge", "pip install 'asr-data[judge]'") from error
        self.judge = judge
        self._attempts = requests.attempts
        self._key = os.environ.get(judge.key_variable, "")
        self._client: AsyncOpenAI = AsyncOpenAI(
            base_url=judge.endpoint,
            api_key=self._key or "none",  # the client requires one; servers without keys ignore it
            max_retries=requests.retries,
            timeout=requests.timeout,
        )

    async def ask(self, messages: list[dict[str, str]], order: Order) -> Exchange:
        """Send the messages until a reply can be parsed, up to the limit of attempts.

        Raises:
            RequestFailedError: a request failed after all retries.
            JudgeError: every other request to this judge would fail as well.
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
                return replace(exchange, opinion=read_reply(reply, order), problem=None, reply=None)
            except MalformedReplyError as malformed:
                exchange = replace(exchange, problem=str(malformed), reply=reply)
                asked = reminded(messages, str(malformed))
        return exchange

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _request(self, messages: Sequence[dict[str, str]]) -> tuple[str, int, int, str | None]:
        """Reply, tokens sent, tokens received, and why the reply is unusable, if that is already known."""
        from openai import APIConnectionError, APIStatusError, OpenAIError
        from openai.types.chat import ChatCompletion

        place = f"judge {self.judge.title!r} at {self.judge.endpoint}"
        try:
            done: Any = await self._client.chat.completions.create(**_settings(self.judge, messages))
        except APIStatusError as error:
            message = f"{place}: {error.status_code}: {self._printable(error.message)}"
            if error.status_code in _FATAL:
                state = "is set" if self._key else "is not set"
                hint = f"; the key is taken from {self.judge.key_variable}, which {state}"
                raise JudgeError(message + (hint if error.status_code == 401 else "")) from error
            is_refusal = error.status_code < 500 and error.status_code not in _RETRIED
            raise RequestFailedError(message, is_refusal=is_refusal) from error
        except APIConnectionError as error:  # time-outs, too
            cause = f": {error.__cause__}" if error.__cause__ is not None and str(error.__cause__) else ""
            message = f"{place}: {self._printable(error.message.rstrip('.') + cause)}"
            raise RequestFailedError(message, is_refusal=False) from error
        except (OpenAIError, ValueError) as error:  # the answer is not JSON
            return "", 0, 0, f"the server's answer was not a chat completion: {self._printable(str(error))}"
        if not isinstance(done, ChatCompletion) or not done.choices:
            return "", 0, 0, "the server's answer was not a chat completion"
        usage = done.usage
        tokens = (0, 0) if usage is None else (usage.prompt_tokens or 0, usage.completion_tokens or 0)
        choice = done.choices[0]
        cut = "it was cut off by the limit of tokens" if choice.finish_reason == "length" else None
        return choice.message.content or "", *tokens, cut

    def _printable(self, text: str) -> str:
        """A server's message, shortened, without the key, which some servers echo."""
        text = text.replace(self._key, "***") if self._key else text
        return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]} …"


def _settings(judge: Judge, messages: Sequence[dict[str, str]]) -> dict[str, Any]:
    settings: dict[str, Any] = {"model": judge.model, "messages": messages, judge.token_limit: judge.max_tokens}
    if judge.temperature is not None:
        settings["temperature"] = judge.temperature
    match judge.response_format:
        case "json_object":
            settings["response_format"] = {"type": "json_object"}
        case "json_schema":
            schema = {"name": "verdict", "schema": VERDICT_SCHEMA, "strict": True}
            settings["response_format"] = {"type": "json_schema", "json_schema": schema}
    if judge.extra_body:
        settings["extra_body"] = dict(judge.extra_body)
    return settings
