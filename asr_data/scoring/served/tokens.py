"""Whether a server's token ids mean what ours mean."""

from __future__ import annotations

from collections.abc import Sequence

from asr_data.engines import ServedModel
from asr_data.errors import EndpointError, EngineError
from asr_data.http.connection import RequestFailedError
from asr_data.scoring.served.answers import UnusableAnswerError, json_value, member
from asr_data.scoring.served.server import Server, connect
from asr_data.text.tokenizer import Tokenizer


async def check_tokens(server: Server, served: ServedModel, tokenizer: Tokenizer, ids: Sequence[int]) -> None:
    """Have the server decode ids, where it can, and compare the text; llama.cpp's is asked for its vocabulary alone.

    Raises:
        EngineError: it has another tokenizer.
    """
    if server.vocabulary is not None and max(ids, default=0) >= server.vocabulary:
        raise EngineError(
            f"the server at {server.url} has another tokenizer than {tokenizer.name}: {server.vocabulary} tokens, and "
            f"the first rows hold token {max(ids)}"
        )
    if server.program == "llama.cpp":
        return  # it spells special tokens and leading spaces in a way of its own
    connection = connect(server.url, served)
    try:
        content = await connection.post(f"{server.url}/detokenize", _body(server, ids))
        theirs = member(json_value(content), "prompt" if server.program == "vllm" else "text")
    except (RequestFailedError, EndpointError, UnusableAnswerError):
        return  # started without a tokenizer; the readings are compared in any case
    finally:
        await connection.close()
    ours = tokenizer.hf.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if theirs != ours:
        at = next((i for i, (a, b) in enumerate(zip(str(theirs), ours, strict=False)) if a != b), 0)
        raise EngineError(
            f"the server at {server.url} has another tokenizer than {tokenizer.name}: of the first row's ids it reads "
            f"{str(theirs)[at : at + 40]!r} where ours reads {ours[at : at + 40]!r}"
        )


def _body(server: Server, ids: Sequence[int]) -> dict[str, object]:
    body: dict[str, object] = {"model": server.model, "tokens": list(ids)}
    return body if server.program == "vllm" else {**body, "skip_special_tokens": False}
