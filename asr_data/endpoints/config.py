"""Settings of models behind endpoints, and of requests. A key is named by its environment variable and never stored."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from asr_data.errors import ConfigError
from asr_data.http.address import checked_address
from asr_data.http.settings import Retries, Timeout
from asr_data.settings import Settings

ResponseFormat: TypeAlias = Literal["text", "json_object", "json_schema"]
"""How a server is asked to constrain replies."""

_OUR_FIELDS: Final = frozenset({"messages", "model", "n", "stream", "stream_options"})
_SECRET_NAMES: Final = frozenset(
    {"access_token", "api_key", "apikey", "auth_token", "authorization", "key", "password", "secret", "token"}
)


def _extra_body(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    ours = sorted(_OUR_FIELDS & fields.keys())
    if ours:
        raise ValueError(f"the field {ours[0]} of a request is set by asr-annotate")
    for name in _names(fields):
        if name.lower().replace("-", "_") in _SECRET_NAMES:
            raise ValueError(f"it is written to the output, so it must not hold a secret such as {name!r}")
    return fields


def _names(value: JsonValue) -> Iterator[str]:
    """Every name in a JSON value, at any depth."""
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _names(inner)


class EndpointModel(Settings):
    """A model behind an OpenAI-compatible endpoint."""

    model_config = ConfigDict(hide_input_in_errors=True)  # it may hold a secret

    model: Annotated[str, Field(min_length=1, description="The model's name at the endpoint.")]
    endpoint: Annotated[
        str,
        AfterValidator(checked_address),
        Field(description="Base URL of the API, such as http://localhost:8000/v1."),
    ]
    name: Annotated[str, Field(description="The name in results; empty: the model's.")] = ""
    key_variable: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            description="Environment variable with the API key; may be unset for servers without keys.",
        ),
    ] = "OPENAI_API_KEY"
    price_in: Annotated[float | None, Field(ge=0, description="Price per million tokens sent, in any currency.")] = None
    price_out: Annotated[
        float | None, Field(ge=0, description="Price per million tokens received, in the same currency.")
    ] = None
    temperature: Annotated[float | None, Field(ge=0, description="None uses the server's default.")] = 0.0
    max_tokens: Annotated[int, Field(ge=1, description="Longest reply, in tokens.")] = 1024
    token_limit: Annotated[
        Literal["max_tokens", "max_completion_tokens"], Field(description="The server's name for max_tokens.")
    ] = "max_tokens"
    response_format: Annotated[
        ResponseFormat | Literal["auto"],
        Field(
            description="json_object or json_schema where the server can constrain replies; auto asks for the "
            "strictest form that it takes."
        ),
    ] = "text"
    system_role: Annotated[
        bool,
        Field(description="False puts the instructions into the user message, for templates without a system role."),
    ] = True
    extra_body: Annotated[
        dict[str, JsonValue], AfterValidator(_extra_body), Field(description="Additional fields of the request.")
    ] = Field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name in results."""
        return self.name or self.model

    def identity(self) -> dict[str, Any]:
        """Everything that can change a reply: all but the prices and the key variable."""
        return self.model_dump(mode="json", exclude={"key_variable", "price_in", "price_out"})

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """Cost of a number of tokens; None without prices."""
        if self.price_in is None or self.price_out is None:
            return None
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


class RequestSettings(Settings):
    """How requests are made; has no effect on replies."""

    concurrency: Annotated[int, Field(ge=1, description="Number of concurrent requests.")] = 8
    timeout: Timeout = 120.0
    retries: Retries = 5
    attempts: Annotated[int, Field(ge=1, description="Requests until a reply can be parsed.")] = 3
    on_failure: Annotated[
        Literal["stop", "record"],
        Field(
            description="If a request fails all its retries: leave the run unfinished once all others are done, or "
            "record that there is no answer."
        ),
    ] = "stop"
    budget: Annotated[
        float | None,
        Field(
            gt=0,
            description="Most that all replies may cost, those of earlier runs included; needs prices. The run ends "
            "unfinished once it is spent, and requests under way are still paid for.",
        ),
    ] = None


ModelT = TypeVar("ModelT", bound=EndpointModel)


def load_models(path: Path, kind: type[ModelT]) -> tuple[ModelT, ...]:
    """The models of a JSON file: a list of objects with the fields of ``kind``.

    Raises:
        ConfigError: the file cannot be read, or a model in it is invalid.
    """
    some: Any = Annotated[tuple[kind, ...], Field(min_length=1)]  # type: ignore[valid-type] # a type made here
    models: TypeAdapter[tuple[ModelT, ...]] = TypeAdapter(some, config=ConfigDict(hide_input_in_errors=True))
    try:
        return models.validate_json(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {problems(error)}") from None


def problems(error: ValidationError) -> str:
    """All errors in one line, without values: one could be a key in the wrong place."""
    faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
    return "; ".join(f"{place}: {message}" if place else message for place, message in faults)


def read_text(path: Path, longest: int, what: str) -> str:
    """The text of a file that is sent to models: UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        longest: bytes it may have.
        what: what it holds, for the message.

    Raises:
        ConfigError: it cannot be read, is not UTF-8 or is too long.
    """
    try:
        with path.open("rb") as file:
            content = file.read(longest + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8; byte {error.start} is invalid") from error
    if len(content) > longest:
        raise ConfigError(f"{path}: {what} has at most {longest:,} bytes")
    return text
