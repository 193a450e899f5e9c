"""Settings of ``asr-annotate train-scorer``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TrainingConfig(BaseModel):
    """What to train on and how. Every field is in the report.

    The four kinds of data may be mixed; see :mod:`asr_data.training.sources` for their layouts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    preference: tuple[Path, ...] = ()
    spans: tuple[Path, ...] = ()
    steps: tuple[Path, ...] = ()
    sentence_scores: tuple[Path, ...] = ()
    span_pairs: bool = True
    """Train on the preferences of span-labelled pairs too; without, on their spans alone."""
    test_steps: tuple[Path, ...] = ()
    """Step-labelled files that are only measured on."""
    base: str = "builtin"
    """The backbone: ``builtin`` (SmolLM2-135M-Instruct), a directory, or a hub id."""
    lora_rank: Annotated[int, Field(ge=0)] = 16
    """Rank of the adapter on every linear layer; 0 trains the whole backbone."""
    lora_layers: Annotated[int, Field(ge=1)] | None = None
    """Adapt the last so many layers only; the layers below need no backward pass."""
    mixing: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A source with T tokens gets a share of the training in proportion to ``T ** mixing``."""
    max_tokens: Annotated[int, Field(ge=1)] = 2_000_000
    """Training tokens in all; a source is repeated in a new order when it runs out."""
    batch_tokens: Annotated[int, Field(ge=64)] = 4096
    """Tokens per optimiser step."""
    micro_batch_tokens: Annotated[int, Field(ge=64)] = 2048
    """Padded tokens per forward pass; bounds the memory."""
    max_length: Annotated[int, Field(ge=8)] = 1024
    """Longer examples are left out and counted."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps with a rising learning rate; a cosine to a tenth follows."""
    rank_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the pairwise ranking loss in the loss of labelled responses; the rest is cross-entropy."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the prompts kept for the figures."""
    seed: int = 17
    checkpoint_steps: Annotated[int, Field(ge=1)] = 50
    """Optimiser steps between checkpoints and lines of the curve."""

    @model_validator(mode="after")
    def _has_data(self) -> TrainingConfig:
        if not (self.preference or self.spans or self.steps or self.sentence_scores):
            raise ValueError("no training data: give at least one of preference, spans, steps, sentence_scores")
        return self
