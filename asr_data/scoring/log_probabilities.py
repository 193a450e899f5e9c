"""Log-probabilities of tokens under one language model, or under several that have the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from asr_data.errors import ScorerError
from asr_data.scoring.decoder import Decoder
from asr_data.scoring.engine import Engine, Request, Runner
from asr_data.scoring.language_head import LanguageHead, load_language_head
from asr_data.scoring.protocol import Measured, largest
from asr_data.text.tokenizer import load_tokenizer
from asr_data.types import Float32

_TOKENIZER = "tokenizer.json"


class LogProbabilityReadout(nn.Module):
    """``log p(target)`` from the hidden state before it: ``[n, hidden]``, int64 ``[n]`` → float32 ``[n]``."""

    def __init__(self, head: LanguageHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, hidden: Tensor, target: Tensor | None, /) -> Tensor:
        """Log-probabilities over the whole vocabulary, in nats."""
        if target is None:
            raise ScorerError("log-probabilities need a target token at each position; this request has none")
        out = []
        for states, token in zip(*(torch.split(x, self.head.rows) for x in (hidden, target)), strict=True):
            logits = self.head(states)
            out.append(logits.gather(-1, token[:, None])[:, 0] - logits.logsumexp(-1))
        return torch.cat(out)


@dataclass(frozen=True, slots=True)
class TwoModels:
    """Runs each request on the model that it names: 0 is ``first``, 1 is ``second``."""

    first: Runner
    second: Runner

    @property
    def attention(self) -> str:
        """Of the first; the second is of the same family."""
        return self.first.attention

    @property
    def measured(self) -> Mapping[str, float]:
        """See :class:`asr_data.scoring.protocol.Measured`: the larger numbers of the two."""
        return largest(one.measured for one in (self.first, self.second) if isinstance(one, Measured))

    def run(self, requests: Sequence[Request], on_tokens: Callable[[int], None] | None = None) -> list[Float32 | None]:
        """See :class:`asr_data.scoring.engine.Runner`; tokens are counted as the second model reads them."""
        out: list[Float32 | None] = [None] * len(requests)
        for number, runner in enumerate((self.first, self.second)):
            mine = [at for at, request in enumerate(requests) if request.model == number]
            found = runner.run([requests[at] for at in mine], on_tokens if number else None)
            for at, reading in zip(mine, found, strict=True):
                out[at] = reading
        return out


def language_runner(model: Decoder, reference: Decoder | None, *, batch_tokens: int) -> tuple[Runner, int]:
    """The model with its head, and beside it a reference with its own; and how many token ids they know.

    Raises:
        ScorerError: a head cannot be loaded, or the two do not have the same tokens.
    """
    own = load_language_head(model)
    vocabulary = min(model.vocabulary, own.vocabulary)
    engine = Engine(model.model, LogProbabilityReadout(own), batch_tokens=batch_tokens, entry=model.entry)
    if reference is None:
        return engine, vocabulary
    base = load_language_head(reference)
    if own.vocabulary != base.vocabulary:
        raise ScorerError(
            f"the policy has {own.vocabulary} tokens and its reference {base.vocabulary}: they must share a vocabulary"
        )
    _check_tokens(model, reference)
    second = Engine(reference.model, LogProbabilityReadout(base), batch_tokens=batch_tokens, entry=reference.entry)
    return TwoModels(engine, second), min(vocabulary, reference.vocabulary)


def _check_tokens(policy: Decoder, reference: Decoder) -> None:
    """Raise ScorerError where both models have tokenizers and a token has two ids."""
    folders = [_with_tokenizer(decoder) for decoder in (policy, reference)]
    if folders[0] is None or folders[1] is None:
        return
    own, base = (load_tokenizer(str(folder)).hf.get_vocab() for folder in folders)
    for token, i in own.items():
        if base.get(token, i) != i:
            raise ScorerError(
                f"the policy in {folders[0]} and the reference in {folders[1]} have different tokenizers: "
                f"{token!r} is {i} in one and {base[token]} in the other"
            )


def _with_tokenizer(decoder: Decoder) -> Path | None:
    folders = [folder for folder in (decoder.directory, decoder.checkpoint) if folder is not None]
    return next((folder for folder in folders if (folder / _TOKENIZER).is_file()), None)
