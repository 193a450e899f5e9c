"""What a server is: its program and version, the models that it has, and how much it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from asr_data.engines import KEY_VARIABLE, ServedModel
from asr_data.errors import ConfigError, EngineError
from asr_data.http.connection import Connection, Purpose, RequestFailedError
from asr_data.scoring.served.answers import UnusableAnswerError, json_value, member

Program: TypeAlias = Literal["vllm", "sglang", "llama.cpp"]

_OWNERS: Final[dict[str, Program]] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}
"""``owned_by`` of ``/v1/models`` → program."""
_BYTES_OF_NUMBER: Final = 32
"""In JSON, at the most."""
_MOST_BYTES: Final = 2**31


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has the model.

    Attributes:
        url: its root.
        program: what it runs.
        version: of the program.
        model: the model's name there.
        context: most tokens of a request and its answer together; None where it does not say.
        vocabulary: number of token ids, where it says so.
    """

    url: str
    program: Program
    version: str
    model: str
    context: int | None
    vocabulary: int | None = None


def connect(url: str, served: ServedModel, *, most_numbers: int = 0) -> Connection:
    """A connection to a server.

    Args:
        url: its root.
        served: how it is asked.
        most_numbers: in one answer.
    """
    purpose = Purpose(f"the server at {url}", "--engine", "engine", EngineError)
    most_bytes = min(_MOST_BYTES, 2**24 + most_numbers * _BYTES_OF_NUMBER)
    asked = served.settings
    return Connection(url, KEY_VARIABLE, purpose, timeout=asked.timeout, retries=asked.retries, most_bytes=most_bytes)


async def find_servers(served: ServedModel, model: str) -> list[Server]:
    """Every server of a model, all of one program, version and model.

    Args:
        served: the servers.
        model: what the user calls the model.

    Raises:
        EngineError: a server cannot be asked, is none that is known, or has another model; or they differ.
        ConfigError: a key or an address cannot be used.
    """
    found = []
    for url in served.urls:
        connection = connect(url, served)
        try:
            found.append(await _look_at(connection, url, served.name, model))
        except RequestFailedError as error:
            raise EngineError(f"{error}; is it running, and is this its address?") from None
        except UnusableAnswerError as error:
            raise EngineError(f"the server at {url} is none that is known: {error}") from None
        finally:
            await connection.close()
    first = found[0]
    for other in found[1:]:
        for what in ("program", "version", "model", "vocabulary"):
            mine, theirs = getattr(first, what), getattr(other, what)
            if mine != theirs:
                raise EngineError(
                    f"the servers differ in {what}: {first.url} has {mine} and {other.url} {theirs}; one run asks "
                    "equal servers"
                )
    return found


async def _look_at(connection: Connection, url: str, name: str, model: str) -> Server:
    listed = await _get(connection, "/v1/models")
    if listed is None:
        raise UnusableAnswerError("it has no /v1/models, which vLLM, SGLang and llama.cpp's server have")
    cards = member(listed, "data")
    owner = str(member(cards, 0, "owned_by"))
    if owner not in _OWNERS:
        raise UnusableAnswerError(f"its models are owned by {owner!r}; those of {', '.join(_OWNERS)} can be asked")
    program = _OWNERS[owner]
    card = _card(cards, name, model, url)
    shown = str(card["id"])
    if program == "vllm":
        version = member(await _get(connection, "/version") or {}, "version")
        return Server(url, program, str(version), shown, _count(card.get("max_model_len")))
    if program == "sglang":
        version = member(await _get(connection, "/server_info") or {}, "version")
        return Server(url, program, str(version), shown, _count(card.get("max_model_len")))
    props = await _get(connection, "/props") or {}
    context = member(props, "default_generation_settings", "n_ctx")
    vocabulary = (card.get("meta") or {}).get("n_vocab")
    return Server(url, program, str(member(props, "build_info")), shown, _count(context), _count(vocabulary))


async def _get(connection: Connection, path: str) -> Any:
    content = await connection.get(path)
    return None if content is None else json_value(content)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _card(cards: Sequence[Any], name: str, model: str, url: str) -> dict[str, Any]:
    """The entry of the model that is asked for.

    Raises:
        EngineError: there is none.
    """
    known = [card for card in cards if isinstance(card, dict) and "id" in card]
    for card in known:
        names = {str(card["id"]), str(card.get("root") or card["id"])}
        if name in names if name else _is_same(model, names):
            return card
    have = ", ".join(repr(str(card["id"])) for card in known) or "none"
    wanted = name or model
    hint = "" if name else f"; if that is {model}, say so with --engine-model NAME"
    raise EngineError(f"the server at {url} has no model {wanted!r}: it has {have}{hint}")


def _is_same(model: str, names: set[str]) -> bool:
    """Whether a server's model has the name of ours: the same one, or that of the same folder."""
    mine = Path(model).expanduser()
    return model in names or any(str(mine.resolve()) == name or _last(model) == _last(name) for name in names)


def _last(name: str) -> str:
    return Path(name).name or name


def limit(servers: Sequence[Server], beyond: int, wanted: int | None, name: str, *, is_asked: bool) -> int:
    """The longest request in tokens.

    Args:
        servers: that share the work.
        beyond: tokens that they add to a request.
        wanted: the model's context, or less where the user says so; None where neither is known.
        name: of the model.
        is_asked: whether the user said so.

    Raises:
        ConfigError: a server reads less than the model, or nobody says how much.
    """
    contexts = {server.url: server.context - beyond for server in servers if server.context is not None}
    if not contexts:
        if wanted is None:
            raise ConfigError(f"neither {name} nor its server says how long its context is; give --max-length")
        return wanted
    url, least = min(contexts.items(), key=lambda item: item[1])
    if wanted is None:
        return least
    # A model's own context leaves no room for a token beyond; only the user's word, or a smaller server, is refused.
    if least + beyond < wanted or (is_asked and least < wanted):
        also = f" ({beyond} more for what it generates)" if beyond else ""
        raise ConfigError(
            f"the server at {url} reads {least} tokens{also}, and {name} {wanted}: give --max-length {least} to reject "
            "longer rows, or start the server with a longer context"
        )
    return min(least, wanted)
