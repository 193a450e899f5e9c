"""Requests to one endpoint through the ``openai`` client, which does its own waiting and retrying."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asr_data.errors import ConfigError, EndpointError, MissingDependencyError
from asr_data.redact import Redactor, proxy_secrets, without_secrets

if TYPE_CHECKING:
    from openai import APIConnectionError, APIStatusError, AsyncOpenAI

_LONGEST_MESSAGE = 300
_RETRIED = (408, 409, 429)  # by the client, as is 5xx
_HEADERS = ("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent")
"""What is sent beside the key."""
_NO_KEY = "none"
"""The client requires a key; servers without keys ignore it."""
_FATAL = (401, 404)  # key, address or model is wrong: every other request would fail as well
_NOT_FOUND: Final = 404
_TOO_LONG = re.compile(r"context.{0,3}(length|window|size)", re.IGNORECASE)
"""What servers say of a prompt that does not fit the model."""
_NO_FORMAT = (400, 422, 501)
"""Statuses of servers that do not know a response format."""


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
class Purpose:
    """What an endpoint is asked for, in the words of messages.

    Attributes:
        place: what is asked, such as ``judge 'm' at http://localhost:8000/v1``.
        noun: what needs the package that makes requests.
        extra: of this package, that installs it.
        error: raised where no request can succeed.
    """

    place: str
    noun: str
    extra: str
    error: type[EndpointError]


class Connection:
    """Requests to one endpoint, with its key, and to no other address.

    Args:
        endpoint: base URL of the API.
        key_variable: environment variable with the key; may be unset.
        timeout: of a whole request, answer included, in seconds.
        retries: of a request that timed out or got status 408, 409, 429 or 5xx.
        purpose: for messages.
        most_bytes: of one answer; default :data:`asr_data.http.bounds.MOST_BYTES`.

    Attributes:
        redacted: takes the secrets out of a text.

    Raises:
        ConfigError: the key, a proxy of the environment or the address cannot be used.
        MissingDependencyError: the package ``openai`` is not installed.
    """

    def __init__(
        self,
        endpoint: str,
        key_variable: str,
        purpose: Purpose,
        *,
        timeout: float,
        retries: int,
        most_bytes: int | None = None,
    ) -> None:
        try:
            from openai import AsyncOpenAI

            from asr_data.http.bounds import MOST_BYTES, bounded_client
        except ImportError as error:
            command = f"pip install 'asr-data[{purpose.extra}]'"
            raise MissingDependencyError("openai", purpose.noun, command) from error
        self._purpose, self._key_variable = purpose, key_variable
        self._key = _key(key_variable)
        self.redacted = Redactor([self._key, *proxy_secrets()])
        try:
            self._client: AsyncOpenAI = AsyncOpenAI(
                base_url=endpoint,
                api_key=self._key or _NO_KEY,
                max_retries=retries,
                timeout=timeout,
                http_client=bounded_client(timeout, [self._only_ours], most_bytes or MOST_BYTES),
            )
        except Exception as error:  # a proxy, a certificate file or an address that httpx2 cannot use
            reason = self.redacted(f"{type(error).__name__}: {error}")
            raise ConfigError(f"{purpose.place}: cannot be set up: {reason}") from None

    async def post(self, path: str, body: dict[str, Any]) -> bytes:
        """The body of the answer to a JSON request.

        Args:
            path: relative to the endpoint, such as ``/chat/completions``, or a whole URL.
            body: of the request.

        Raises:
            RequestFailedError: the request failed after all retries.
            EndpointError: every other request would fail as well.
            OpenAIError: the answer cannot be read. So does ValueError.
        """
        from httpx2 import Response
        from openai import APIConnectionError, APIStatusError

        # Errors of the client quote what the server sent, which may be the key: hence `from None`.
        try:
            response = await self._client.post(path, cast_to=Response, body=body)
        except APIStatusError as error:
            raise self._status_error(error) from None
        except APIConnectionError as error:  # time-outs, too
            raise self._no_answer(error) from None
        return response.content

    async def get(self, path: str) -> bytes | None:
        """The body of the answer; None where the server has no such path. See :meth:`post`."""
        from httpx2 import Response
        from openai import APIConnectionError, APIStatusError

        try:
            response = await self._client.get(path, cast_to=Response)
        except APIStatusError as error:
            if error.status_code == _NOT_FOUND:
                return None
            raise self._status_error(error) from None
        except APIConnectionError as error:
            raise self._no_answer(error) from None
        return response.content

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def printable(self, text: str) -> str:
        """A server's message, shortened, without secrets."""
        text = self.redacted(text)
        return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]} …"

    def _no_answer(self, error: APIConnectionError) -> RequestFailedError:
        cause = f": {error.__cause__}" if error.__cause__ is not None and str(error.__cause__) else ""
        message = f"{self._purpose.place}: {self.printable(error.message.rstrip('.') + cause)}"
        return RequestFailedError(message, is_refusal=False)

    def _status_error(self, error: APIStatusError) -> Exception:
        """A status other than 2xx, as an error for this request or for all."""
        status, place = error.status_code, self._purpose.place
        if 300 <= status < 400:
            target = self.printable(without_secrets(error.response.headers.get("location", "")) or "no address")
            return self._purpose.error(
                f"{place}: answers with a redirect ({status}) to {target}. Redirects are not followed, since prompts, "
                "answers and the key are sent to the given endpoint alone; if the new address is right, give that one"
            )
        message = f"{place}: {status}: {self.printable(error.message)}"
        if status in _FATAL:
            state = "is set" if self._key else "is not set"
            hint = f"; the key is read from {self._key_variable}, which {state}"
            return self._purpose.error(message + (hint if status == 401 else ""))
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


def _key(variable: str) -> str:
    """The API key, or an empty string."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{variable}: the key contains characters that an HTTP header cannot hold")
    return key
