"""Which of a server's calls gives what a kind of reward model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from torch import Tensor

from asr_data.engines import ServedModel
from asr_data.errors import ConfigError, EndpointError, EngineError
from asr_data.http.connection import RequestFailedError
from asr_data.scoring.config import LabelTokenConfig, SequenceHeadConfig, TokenHeadConfig
from asr_data.scoring.engine import Request
from asr_data.scoring.served import llama_cpp, sglang, vllm
from asr_data.scoring.served.routes import (
    LabelProbabilities,
    LastOutputs,
    PromptLogProbabilities,
    Route,
    TokenOutputs,
)
from asr_data.scoring.served.runner import ServedRunner
from asr_data.scoring.served.server import Server

_START: Final = {
    "vllm": 'start it with --runner pooling, and with --pooler-config \'{"task": "token_classify"}\' (or classify, for '
    "a sequence reward model)",
    "sglang": "start it with --is-embedding (sequence reward models), or with --enable-return-hidden-states "
    "--disable-radix-cache (token heads)",
    "llama.cpp": "start it with --embeddings --pooling none",
}


def log_probability_route(server: Server) -> Route:
    """Log-probabilities of a sequence's own tokens.

    Raises:
        ConfigError: the server does not give them.
    """
    if server.program == "vllm":
        ask = partial(vllm.prompt_log_probabilities, server.model)
        return PromptLogProbabilities("prompt_logprobs", ask, beyond=1)
    if server.program == "sglang":
        return PromptLogProbabilities("input_token_logprobs", sglang.prompt_log_probabilities, beyond=1)
    raise ConfigError(
        f"{server.url}: llama.cpp's server gives no log-probabilities of a prompt's tokens; kinds that read them are "
        "asked of vLLM or SGLang"
    )


def label_route(server: Server, settings: LabelTokenConfig, good: int, bad: int) -> Route:
    """The probability of the good label.

    Raises:
        ConfigError: the server does not give it.
    """
    labels, pair = [good, bad], settings.vocabulary == "pair"
    if server.program == "vllm":
        return LabelProbabilities(
            "logprob_token_ids",
            lambda ids, read: vllm.label_log_probabilities(server.model, ids, read, labels),
            pair,
            beyond=1,
        )
    if server.program == "sglang":
        return LabelProbabilities(
            "token_ids_logprob",
            lambda ids, read: sglang.label_log_probabilities(ids, read, labels),
            pair,
            beyond=1,
        )
    if not pair:
        raise ConfigError(
            f"{server.url}: llama.cpp's server gives no probabilities of chosen tokens over the whole vocabulary, "
            "which this model reads; ask vLLM or SGLang"
        )
    return LabelProbabilities(
        "post_sampling_probs", lambda ids, read: llama_cpp.label_log_probabilities(ids, read, labels), pair, beyond=1
    )


def head_routes(
    server: Server,
    settings: TokenHeadConfig | SequenceHeadConfig,
    finish: Callable[[Tensor], Tensor],
    own_head: Callable[[Tensor], Tensor] | None,
    hidden: int | None,
) -> list[Route]:
    """How the outputs of a head can be had, the best first.

    Args:
        server: that has the model.
        settings: of the scorer.
        finish: from outputs of the head ``[n, labels]`` to rewards.
        own_head: from hidden states ``[n, hidden]`` to rewards, where the head's tensors are at hand.
        hidden: size of the last hidden state, where config.json is at hand.
    """
    labels, name = settings.head.labels, server.model
    by_step = isinstance(settings, TokenHeadConfig) and settings.steps is not None
    at_end = isinstance(settings, SequenceHeadConfig) and settings.read == "branch"
    states = own_head is not None and hidden is not None
    routes: list[Route] = []
    if server.program == "vllm":
        every = TokenOutputs(
            "token_classify", lambda ids: vllm.pooled_tokens(name, "token_classify", ids, labels), finish
        )
        last = LastOutputs("classify", lambda ids: vllm.pooled_last(name, "classify", ids, labels), finish)
        routes += [last, every] if at_end else [every, last] if by_step else [every]
        if own_head is not None and hidden is not None:
            routes.append(
                TokenOutputs("token_embed", lambda ids: vllm.pooled_tokens(name, "token_embed", ids, hidden), own_head)
            )
    elif server.program == "sglang":
        if at_end or by_step:
            routes.append(LastOutputs("classify", lambda ids: sglang.classified_last(ids, labels), finish))
        if own_head is not None and hidden is not None:
            routes.append(
                TokenOutputs("hidden_states", lambda ids: sglang.hidden_states(ids, hidden), own_head, beyond=1)
            )
    elif own_head is not None and hidden is not None:
        routes.append(TokenOutputs("embeddings", lambda ids: llama_cpp.hidden_states(ids, hidden), own_head))
    if not routes:
        missing = "" if states else " It gives hidden states, and the head's tensors are not at hand to read them."
        raise ConfigError(f"{server.url}: {server.program} has no call for this kind of head.{missing}")
    return routes


def first_that_answers(
    servers: Sequence[Server], routes: Sequence[Route], served: ServedModel, probe: Sequence[int], numbers: int
) -> Route:
    """The first route whose answer to a short request is what was asked for.

    Args:
        servers: of the model; the first is asked.
        routes: see :func:`head_routes`.
        served: how it is asked.
        probe: token ids.
        numbers: most of one answer.

    Raises:
        EngineError: there is none; says what each one got.
    """
    request = Request(list(probe), [len(probe) - 1])
    tried = []
    for route in routes:
        try:
            ServedRunner(servers[:1], route, served, most_numbers=numbers).run([request])
        except (EndpointError, RequestFailedError) as error:
            tried.append(f"{route.name}: {error}")
        else:
            return route
    listed = "\n  ".join(tried)
    server = servers[0]
    raise EngineError(
        f"{server.program} {server.version} at {server.url} gives no outputs of this model's head; "
        f"{_START[server.program]}. Asked for:\n  {listed}"
    )
