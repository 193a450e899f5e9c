"""The ``lm_label_tokens`` kind: a language model that answers after each step whether it is good."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr_data.errors import RowRejected, ScorerError
from asr_data.scoring.config import LabelTokenConfig
from asr_data.scoring.decoder import Decoder
from asr_data.scoring.language_head import LanguageHead, load_language_head
from asr_data.scoring.model_scorer import Reading
from asr_data.scoring.prompting import as_prompted
from asr_data.scoring.step_encoding import check_separator, encode_steps
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import ByteRewards, Float32, Row


class LabelTokenReadout(nn.Module):
    """The probability of the good label: hidden states ``[n, hidden]`` → float32 ``[n]``.

    Args:
        head: of the language model.
        good, bad: token ids of the labels.
        pair: whether the probability is shared out among the two alone; else among the whole vocabulary.
    """

    def __init__(self, head: LanguageHead, good: int, bad: int, *, pair: bool) -> None:
        super().__init__()
        self.head = head
        self._labels = [good, bad]
        self._pair = pair

    def forward(self, hidden: Tensor, _target: Tensor | None = None, /) -> Tensor:
        """Rewards; targets are not used."""
        return torch.cat([self._probability(self.head(piece)) for piece in torch.split(hidden, self.head.rows)])

    def _probability(self, logits: Tensor) -> Tensor:
        labels = logits[:, self._labels]
        return (labels.softmax(-1) if self._pair else (labels - logits.logsumexp(-1, keepdim=True)).exp())[:, 0]


class LabelTokenEncoder:
    """Asks for one answer per step.

    Raises:
        ScorerError: the tokenizer does not have the separator as one token where it has to be.
    """

    def __init__(self, tokenizer: Tokenizer, config: LabelTokenConfig) -> None:
        check_separator(tokenizer, config.steps)
        self._tokenizer = tokenizer
        self._config = config

    def encode(self, row: Row) -> list[Reading]:
        """See :class:`asr_data.scoring.model_scorer.Encoder`."""
        row = as_prompted(row, self._config.prompt)
        return encode_steps(row, self._tokenizer, self._config.prompt, self._config.steps)

    def rewards(self, reading: Reading, values: Float32) -> ByteRewards:
        """The probabilities as they are."""
        return ByteRewards(reading.span_end, values, reading.step_end)


def label_token_readout(settings: LabelTokenConfig, decoder: Decoder, tokenizer: Tokenizer) -> LabelTokenReadout:
    """The readout for a decoder.

    Raises:
        ScorerError: a label is not one token, both are the same one, or the head cannot be loaded.
    """
    head = load_language_head(decoder)
    good = label_id(tokenizer, settings.good, settings.good_id, head.vocabulary)
    bad = label_id(tokenizer, settings.bad, settings.bad_id, head.vocabulary)
    if good == bad:
        raise ScorerError(f"the good and the bad label are the same token, {good}")
    return LabelTokenReadout(head, good, bad, pair=settings.vocabulary == "pair")


def label_id(tokenizer: Tokenizer, text: str, given: int | None, vocabulary: int) -> int:
    """The token id of a label.

    Raises:
        ScorerError: the text is not one known token, or the id is not one of the model's.
    """
    if given is None:
        try:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
        except RowRejected as error:
            raise ScorerError(f"label {text!r} is no token: {error}") from error
        if len(ids) != 1:
            raise ScorerError(
                f"label {text!r} must be one token of tokenizer {tokenizer.name!r}, not "
                f"{tokenizer.hf.convert_ids_to_tokens(ids)}; give another text, or the id in good_id or bad_id"
            )
        given = ids[0]
    if given >= vocabulary:
        raise ScorerError(f"label id {given} is not one of the model's {vocabulary} tokens")
    return given
