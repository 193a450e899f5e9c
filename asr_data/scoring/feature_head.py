"""A token head with features: its readout, and how a response is read for it.

The state after a token and what the language model says of the token stand at different positions: token ``t`` is
predicted at position ``t − 1``. So both positions are read for each token of the text, and the parts are put together
afterwards. What the head makes of the hidden state is computed where the model runs; what it makes of the scalars, of
which some need the second reading, is added here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr_data.errors import RowRejected, ScorerError
from asr_data.scoring.config import TokenHeadConfig
from asr_data.scoring.contexts import Contexts, other_answer
from asr_data.scoring.engine import Request
from asr_data.scoring.feature_config import FeatureConfig, Scalar
from asr_data.scoring.features import head_input, log_ratio, own_scalars, partner_scalars, shared_tokens
from asr_data.scoring.language_head import LanguageHead
from asr_data.scoring.model_scorer import NOTHING_READ, Reading
from asr_data.scoring.prompting import as_prompted
from asr_data.scoring.token_head import covering, transform
from asr_data.text.align import AlignedResponse, AlignedRow, align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import ByteRewards, Float32, Float64, Int64, Row


class FeatureHead(nn.Module):
    """The tensors of a linear head with features; see :class:`asr_data.scoring.feature_config.FeatureConfig`.

    Args:
        hidden: size of the hidden state.
        labels: rows of the weight.
        features: what it reads.
    """

    def __init__(self, hidden: int, labels: int, features: FeatureConfig) -> None:
        super().__init__()
        self.hidden = hidden
        self.weight = nn.Parameter(torch.zeros(labels, hidden + len(features.columns())))
        self.bias = nn.Parameter(torch.zeros(labels))
        scalars = len(features.own_columns()) + len(features.partner_columns())
        self.register_buffer("mean", torch.zeros(scalars))
        self.register_buffer("std", torch.ones(scalars))

    def forward(self, hidden: Tensor) -> Tensor:
        """What the head makes of hidden states alone: ``[n, hidden]`` → ``[n, labels]``, the bias included."""
        return nn.functional.linear(hidden, self.weight[:, : self.hidden], self.bias)


class FeatureReadout(nn.Module):
    """The head's share of hidden states, then the scalars: ``[n, hidden]`` or ``[n, 2 × hidden]``, int64 ``[n]`` →
    float32 ``[n, labels + scalars]``.

    Args:
        head: in float32.
        language: the model's own head; None where no scalars are read.
        features: what is read.
    """

    def __init__(self, head: nn.Module, language: LanguageHead | None, hidden: int, features: FeatureConfig) -> None:
        super().__init__()
        self.head = head
        self.language = language
        self._hidden, self._features = hidden, features

    def forward(self, hidden: Tensor, target: Tensor | None, /) -> Tensor:
        """See the class; of two states side by side the head takes the first, the language head the second."""
        parts = [self.head(hidden[:, : self._hidden].float())]
        if self.language is not None:
            if target is None:
                raise ScorerError("what a language model says of a token needs that token; this request has none")
            parts.append(token_scalars(self.language, hidden[:, -self._hidden :], target, self._features.scalars))
        return torch.cat(parts, dim=1)


def token_scalars(language: LanguageHead, hidden: Tensor, target: Tensor, names: tuple[Scalar, ...]) -> Tensor:
    """Float32 ``[n, names]``, see :data:`asr_data.scoring.feature_config.Scalar`."""
    out = []
    for states, token in zip(*(torch.split(x, language.rows) for x in (hidden, target)), strict=True):
        logp = language(states).log_softmax(-1)
        own = logp.gather(-1, token[:, None])
        out.append(torch.stack([_scalar(name, logp, own) for name in names], dim=1))
    return torch.cat(out)


def _scalar(name: Scalar, logp: Tensor, own: Tensor) -> Tensor:
    """``logp`` ``[n, vocabulary]``, ``own`` ``[n, 1]`` → ``[n]``."""
    match name:
        case "logp":
            return own[:, 0]
        case "entropy":
            return -(logp.exp() * logp).sum(-1)
        case "top":
            return logp.amax(-1)
        case "rank":
            return (logp > own).sum(-1).float().log1p()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureReading(Reading):
    """Of one response, once or twice.

    Attributes:
        count: positions read in each request.
        before: int64 ``[tokens]``, places among these of the position before each token of the text.
        at: int64 ``[tokens]``, of the token itself.
        start: of the end of the prompt.
        preferred: whether it is the chosen response.
        shared: float32 ``[tokens]``, see :func:`asr_data.scoring.features.shared_tokens`; None where not asked for.
    """

    count: int
    before: Int64
    at: Int64
    start: int
    preferred: bool
    shared: Float32 | None


class FeatureEncoder:
    """Asks for every token of each response, after its context and again with the partner in view.

    Args:
        tokenizer: of the model.
        config: with features.
        contexts: its own context; the sides that are spoken of.
        partner: the partner's context; None where the settings have none.
        head: in float32, on any device.

    Attributes:
        width: scalars of a reading; they are its last numbers.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: TokenHeadConfig,
        contexts: Contexts,
        partner: Contexts | None,
        head: FeatureHead,
    ) -> None:
        self._tokenizer, self._config, self._contexts, self._partner = tokenizer, config, contexts, partner
        self._features = _features(config)
        self.width = len(self._features.scalars)
        weight = head.weight.detach().float().cpu()
        self._scalar_weight = weight[:, head.hidden :].numpy()
        self._mean, self._std = (head.get_buffer(name).float().cpu().numpy() for name in ("mean", "std"))

    def encode(self, row: Row) -> list[Reading]:
        """See :class:`asr_data.scoring.model_scorer.Encoder`."""
        return [
            NOTHING_READ if views is None else self.reading(row, place, views[0])
            for place, views in enumerate(self._contexts.views(row))
        ]

    def rewards(self, reading: Reading, values: Float32) -> ByteRewards:
        """The head's share of the hidden states, that of the scalars, and the share of the log-ratio."""
        if not isinstance(reading, FeatureReading):
            raise TypeError(f"a reading of {type(self).__name__} is asked for, not {type(reading).__name__}")
        inputs, ratio = self.scalars(reading, values)
        labels = len(self._scalar_weight)
        logits = values[reading.at, :labels] + inputs @ self._scalar_weight.T
        logits[:, self._config.indices[0]] += self._features.ratio * ratio
        nothing = np.zeros_like(inputs[:1])  # at the end of the prompt every scalar is at its mean
        flags = 2 if self._features.partner is not None else 0
        nothing[:, inputs.shape[1] - flags :] = inputs[:1, inputs.shape[1] - flags :]
        start = values[reading.start : reading.start + 1, :labels] + nothing @ self._scalar_weight.T
        rewards = transform(torch.from_numpy(np.concatenate([start, logits])), self._config).numpy()
        return ByteRewards(reading.span_end, rewards.astype(np.float32), reading.step_end)

    def scalars(self, reading: FeatureReading, values: Float32) -> tuple[Float32, Float32]:
        """The head's input without the hidden states, float32 ``[tokens, columns]``; the log-ratio ``[tokens]``."""
        own, partner, ratio = self.raw_scalars(reading, values)
        inputs = head_input(
            self._features,
            own,
            partner,
            preferred=reading.preferred,
            mean=self._mean,
            std=self._std,
        )
        return inputs, ratio

    def raw_scalars(self, reading: FeatureReading, values: Float32) -> tuple[Float64, Float64 | None, Float32]:
        """Scalars before they are standardised: of every token, with the partner, and the log-ratio ``[tokens]``."""
        scalars = values[:, values.shape[1] - self.width :]
        own = scalars[: reading.count][reading.before]
        if len(reading.requests) == 1:
            return own_scalars(self._features, own), None, np.zeros(len(own), dtype=np.float32)
        in_view = scalars[reading.count :]
        partner = partner_scalars(self._features, own, in_view, reading.shared)
        return own_scalars(self._features, own), partner, log_ratio(self._features, own, in_view)

    def reading(self, row: Row, place: int, view: Row) -> Reading:
        """What to ask about the response at ``place``; ``view`` is the row as its context shows it, with it alone.

        Raises:
            RowRejected: it cannot be put to this model.
        """
        aligned = self._align(view)
        (response,) = aligned.responses
        if not response.covers.any() and response.missing:
            return NOTHING_READ
        tokens, span_end = covering(response)
        first = len(aligned.prompt_ids)
        ids = aligned.prompt_ids + response.ids
        position = tokens + first
        read = np.unique(np.concatenate([[first - 1], position - 1, position]))
        requests = [_request(ids, read)]
        in_view = None if self._partner is None else self._partner.beside(row, place)
        shared = None
        if in_view is not None and self._partner is not None:
            requests.append(self._second(in_view, response, tokens))
            if self._features.words:
                shared = shared_tokens(response.text, other_answer(row, place), response.end[tokens])
        return FeatureReading(
            tuple(requests),
            np.concatenate([np.zeros(1, np.int32), span_end]),
            np.zeros(0, np.int32),
            unread=response.missing,
            count=len(read),
            before=np.searchsorted(read, position - 1),
            at=np.searchsorted(read, position),
            start=int(np.searchsorted(read, first - 1)),
            preferred=row.completions[place].preferred,
            shared=shared,
        )

    def _second(self, in_view: Row, response: AlignedResponse, tokens: NDArray[np.integer]) -> Request:
        aligned = self._align(in_view)
        if aligned.responses[0].ids != response.ids:
            raise RowRejected("template_alters_text", "the response has other tokens with its partner in view")
        return _request(aligned.prompt_ids + response.ids, tokens + len(aligned.prompt_ids) - 1)

    def _align(self, row: Row) -> AlignedRow:
        aligned = align(as_prompted(row, self._config.prompt), self._tokenizer)
        if not aligned.prompt_ids:
            raise RowRejected("empty_prompt", "the prompt is empty: the first response token has no log-probability")
        return aligned


def _request(ids: list[int], read: NDArray[np.integer]) -> Request:
    """Reads at these positions, each with the token after it; the last token of all has none, and repeats itself."""
    after = np.minimum(read + 1, len(ids) - 1)
    return Request(ids, read.tolist(), np.asarray(ids, dtype=np.int64)[after].tolist())


def _features(config: TokenHeadConfig) -> FeatureConfig:
    if config.features is None:
        raise ScorerError("this token head has no features")
    return config.features
