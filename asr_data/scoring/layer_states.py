"""A decoder that gives the hidden states of an inner layer beside the last ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from asr_data.errors import ScorerError


@dataclass(frozen=True, slots=True)
class LayerOutput:
    """What an engine reads of a decoder's output."""

    last_hidden_state: Tensor


class WithLayer(nn.Module):
    """A decoder whose states are ``[..., 2 × hidden]``: those after ``layer`` layers, then the last ones.

    Args:
        backbone: a transformers decoder.
        layer: from 1 to one below the number of its layers.

    Raises:
        ScorerError: it has no more layers.
    """

    def __init__(self, backbone: nn.Module, layer: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = backbone.config
        self._layer = layer
        layers = int(backbone.config.get_text_config().num_hidden_layers)  # type: ignore[union-attr, operator] # HF models
        if layer >= layers:
            raise ScorerError(
                f"features: layer is {layer}, but the model has {layers} layers: it must be below that, and is left "
                "out for the last hidden state"
            )

    def get_input_embeddings(self) -> nn.Module:
        """Those of the decoder."""
        found: nn.Module = self.backbone.get_input_embeddings()  # type: ignore[operator] # HF models
        return found

    def forward(self, **inputs: Any) -> LayerOutput:
        """Run the decoder; arguments are its own."""
        output = self.backbone(**inputs, output_hidden_states=True)
        return LayerOutput(torch.cat([output.hidden_states[self._layer], output.last_hidden_state], dim=-1))
