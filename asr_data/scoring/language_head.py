"""The head of a language model, from hidden states to logits, beside a decoder that was loaded without it.

What lies between the two differs from family to family: Gemma caps its logits, Cohere and Granite scale them, Phi
adds a bias. So the family's own code computes them, around a decoder that gives back the hidden states it is given.
The weights come from the checkpoint's own tensors, and every tensor must be accounted for.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr_data.errors import ScorerError
from asr_data.scoring.decoder import Decoder
from asr_data.scoring.quiet import quiet_transformers
from asr_data.scoring.spread import weight_of
from asr_data.scoring.weights import read_tensors

_OLD_NAMES = {"embed_out.weight": "lm_head.weight"}
"""GPT-NeoX (Pythia): its checkpoints, and what transformers 5 calls it."""
_LOGIT_BYTES = 2**26
"""Most memory for the logits of one piece: a vocabulary of 128k tokens takes half a megabyte per position."""


_WIDE_BYTES = 2**28
"""Output embeddings that take more than this in float32 stay in the decoder's number format: of a 7B model with 152k
tokens it is 2.2 GB, a seventh of the model in bfloat16, and where it is the input embedding, too, it takes nothing."""
_PIECE_BYTES = 2**26
"""Of such an output embedding, what is in float32 at a time."""


class LanguageHead(nn.Module):
    """Hidden states ``[n, hidden]`` → logits float32 ``[n, vocabulary]``, computed in float32 in any case.

    The difference of two log-probabilities is small beside the logits; rounding these to bfloat16 would drown it.

    Args:
        model: a transformers causal language model whose decoder is :class:`_GivenStates`, in float32. A large output
            embedding is in the decoder's number format, and its products are in float32 all the same.
        vocabulary: number of logits.

    Attributes:
        rows: how many positions to ask for at once, so that their logits fit into memory.
    """

    def __init__(self, model: nn.Module, vocabulary: int) -> None:
        super().__init__()
        self.model = model
        self.vocabulary = vocabulary
        self.rows = max(1, _LOGIT_BYTES // (4 * vocabulary))

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits of all positions."""
        logits: Tensor = self.model(inputs_embeds=hidden[None].float(), use_cache=False).logits
        return logits[0]


class _GivenStates(nn.Module):
    """In place of a decoder: the last hidden states are the embeddings that it is given."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> _States:
        return _States([inputs_embeds])


class _States(tuple[Tensor]):
    """The output of a decoder that has nothing but last hidden states; families ask for various other things."""

    __slots__ = ()

    @property
    def last_hidden_state(self) -> Tensor:
        return self[0]

    def __getattr__(self, _name: str) -> None:
        return None


def load_language_head(decoder: Decoder) -> LanguageHead:
    """The head that belongs to a decoder.

    Args:
        decoder: with the checkpoint that it was loaded from.

    Raises:
        ScorerError: a tensor of the head is missing, has the wrong shape, or belongs to no language model; or
            transformers has no language model around this decoder.
    """
    model, output = _around(decoder)
    name = type(model).__name__
    wanted = dict(model.named_parameters())
    source = decoder.checkpoint
    found = {} if source is None else _read_head(source, wanted, pickles=decoder.pickles)
    if decoder.model.config.get_text_config().tie_word_embeddings:  # type: ignore[union-attr, operator] # HF models
        # As transformers does it: where the file has a head of its own, that one counts.
        shared = weight_of(decoder.model.get_input_embeddings())  # type: ignore[operator] # HF models
        found = {key: shared for key, parameter in wanted.items() if parameter is output.weight} | found
    _check(found, wanted, decoder.extra, f"the head of {name} in {source or 'a packaged backbone'}")
    kept = _narrow(output, decoder) if 4 * output.weight.numel() > _WIDE_BYTES else torch.float32
    formats = {key: kept if parameter is output.weight else torch.float32 for key, parameter in wanted.items()}
    placed = {key: tensor.to(decoder.device, formats[key]) for key, tensor in found.items()}
    model.load_state_dict(placed, assign=True)
    vocabulary = len(output.weight)
    _try(model, decoder, vocabulary, name)
    return LanguageHead(model, vocabulary).eval()


def _around(decoder: Decoder) -> tuple[Any, Any]:
    """The family's language model without weights and without its decoder, and its output embedding."""
    from transformers import AutoModelForCausalLM

    config: Any = copy.deepcopy(decoder.model.config)
    try:
        with quiet_transformers(), torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (ValueError, ImportError) as error:
        raise ScorerError(f"transformers has no language model of type {config.model_type!r}: {error}") from error
    head = model.get_output_embeddings()
    if type(model.base_model) is not type(decoder.model) or head is None:
        raise ScorerError(
            f"{type(model).__name__} is not a head on a {type(decoder.model).__name__}: not a language model"
        )
    setattr(model, model.base_model_prefix, _GivenStates())
    return model, head


def _narrow(output: Any, decoder: Decoder) -> torch.dtype:
    """Have an output embedding multiplied piece by piece in float32; returns the number format to keep it in."""
    if not isinstance(output, nn.Linear):
        return torch.float32
    output.forward = partial(_product_in_float32, output)  # type: ignore[method-assign] # its names must stay
    kept: torch.dtype = decoder.model.get_input_embeddings().weight.dtype  # type: ignore[operator] # HF models
    return kept


def _product_in_float32(head: nn.Linear, states: Tensor) -> Tensor:
    """Logits float32 ``[..., vocabulary]`` of float32 states ``[..., hidden]``."""
    logits = states.new_empty(*states.shape[:-1], len(head.weight))
    rows = max(1, _PIECE_BYTES // (4 * head.weight.shape[1]))
    for first in range(0, len(head.weight), rows):
        piece = head.weight[first : first + rows].float()
        logits[..., first : first + rows] = nn.functional.linear(states, piece)
    return logits if head.bias is None else logits + head.bias


def _read_head(directory: Path, wanted: Collection[str], *, pickles: bool) -> dict[str, Tensor]:
    """The tensors that are wanted, and what else has the name of a head."""

    def is_head(key: str) -> bool:
        name = _current_name(key, wanted)
        return name in wanted or name.startswith("lm_head.")

    tensors = read_tensors(directory, is_head, pickles=pickles)
    return {_current_name(key, wanted): tensor for key, tensor in tensors.items()}


def _current_name(key: str, wanted: Collection[str]) -> str:
    return key if key in wanted else _OLD_NAMES.get(key, key)


def _check(found: dict[str, Tensor], wanted: dict[str, Tensor], extra: Collection[str], what: str) -> None:
    others = {_current_name(key, wanted) for key in extra} | found.keys()
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(others - wanted.keys())
    if missing or unexpected:
        raise ScorerError(
            f"{what}: missing {missing or 'none'}, unexpected {unexpected[:5] or 'none'}; a head may be missing only "
            "where config.json says that it is the input embedding (tie_word_embeddings)"
        )
    for key, tensor in found.items():
        if tensor.shape != wanted[key].shape:
            raise ScorerError(f"{what}: {key!r} has shape {list(tensor.shape)}, wanted {list(wanted[key].shape)}")


def _try(model: nn.Module, decoder: Decoder, vocabulary: int, name: str) -> None:
    """Raise ScorerError unless the model takes hidden states as they are put to it here."""
    probe = torch.zeros(1, 1, decoder.hidden, device=decoder.device)
    try:
        with torch.inference_mode():
            shape = model(inputs_embeds=probe, use_cache=False).logits.shape
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ScorerError(f"the head of {name} cannot be computed by itself: {error}") from error
    if shape != (1, 1, vocabulary):
        raise ScorerError(f"the head of {name} gives logits of shape {list(shape)}, wanted [1, 1, {vocabulary}]")
