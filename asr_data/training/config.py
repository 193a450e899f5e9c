"""Settings of ``asr-annotate train-scorer``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

Learn: TypeAlias = Literal["all", "preferences", "labels"]
Part: TypeAlias = Literal["all", "train", "test"]

_READING: Final = ("split", "name", "revision", "group", "scale")


class SourceConfig(BaseModel):
    """One source of training data, typed as ``INPUT`` or ``INPUT:WORD,WORD…``.

    A word is ``preferences`` or ``labels`` (what to learn), ``train`` or ``test`` (what to learn from or to measure
    on), ``split=``, ``name=``, ``revision=`` (as for ``run``), ``group=COLUMN``, ``scale=LOW..HIGH``, or a role of
    ``run --columns`` such as ``chosen=COLUMN`` or ``format=NAME``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str
    """Whatever ``run`` takes as ``INPUT``."""
    learn: Learn = "all"
    """``preferences``: which response is preferred; ``labels``: what is said of its parts; ``all``: what there is."""
    part: Part = "all"
    """``train``: hold nothing out; ``test``: only measure; ``all``: train, and hold a share of the questions out."""
    split: str | None = None
    name: str | None = None
    revision: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    """Role → column, as ``run --columns``."""
    group: str | None = None
    """Column whose equal values are held out together; default: equal first user turns are."""
    scale: tuple[float, float] = (0.0, 1.0)
    """Rewards of labels that are worst and best; they become the targets 0 and 1."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return _parsed(str(value)) if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _fits(self) -> SourceConfig:
        if not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale={self.scale[0]:g}..{self.scale[1]:g}: the first number must be the lower one")
        return self

    @model_serializer
    def __str__(self) -> str:
        words: list[str] = [word for word in (self.learn, self.part) if word != "all"]
        named = {key: getattr(self, key) for key in ("split", "name", "revision", "group")}
        words += [f"{key}={value}" for key, value in named.items() if value is not None]
        words += [] if self.scale == (0.0, 1.0) else [f"scale={self.scale[0]:g}..{self.scale[1]:g}"]
        words += [f"{role}={column}" for role, column in self.columns.items()]
        return f"{self.input}:{','.join(words)}" if words else self.input


def _parsed(typed: str) -> dict[str, Any]:
    """The fields of a source as it was typed; a file of that very name comes first."""
    location, colon, tail = typed.rpartition(":")
    if not colon or not location or Path(typed).exists() or "/" in tail or "\\" in tail:
        return {"input": typed}
    fields: dict[str, Any] = {"input": location}
    columns: dict[str, str] = {}
    for word in tail.split(","):
        key, equals, value = word.partition("=")
        if not equals and word in ("preferences", "labels"):
            field, known = "learn", word
        elif not equals and word in ("train", "test"):
            field, known = "part", word
        elif equals and value and key in _READING:
            field, known = key, value
        elif equals and value:
            columns[key] = value
            continue
        else:
            raise ValueError(
                f"{typed}: {word!r} is none of preferences, labels, train, test, "
                f"{', '.join(f'{name}=…' for name in _READING)}, and no role of --columns such as chosen=…"
            )
        if field in fields:
            raise ValueError(f"{typed}: {fields[field]} and {known} exclude each other")
        fields[field] = known
    if "scale" in fields:
        fields["scale"] = tuple(fields["scale"].split(".."))
    return {**fields, "columns": columns}


class TrainingConfig(BaseModel):
    """What to train on and how. Every field is in the report."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: Annotated[tuple[SourceConfig, ...], Field(min_length=1)]
    """What to train and measure on, in any mix; strings are parsed as on the command line."""
    base: str = "builtin"
    """The backbone: ``builtin`` (SmolLM2-135M-Instruct), a directory, or a hub id."""
    lora_rank: Annotated[int, Field(ge=0)] = 16
    """Rank of the adapter on every linear layer; 0 trains the whole backbone."""
    lora_layers: Annotated[int, Field(ge=1)] | None = None
    """Adapt only this many of the last layers; the layers below need no backward pass."""
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


def sources_of_old_options(
    preference: Sequence[Path] = (),
    spans: Sequence[Path] = (),
    steps: Sequence[Path] = (),
    sentence_scores: Sequence[Path] = (),
    test_steps: Sequence[Path] = (),
    *,
    span_pairs: bool = True,
) -> list[str]:
    """The sources that the options of version 0.1 stand for; they go with the version after the next."""
    span_word = "" if span_pairs else ":labels"
    step_word = ":labels,train" if test_steps else ":labels"
    return [
        *(f"{path}:preferences" for path in preference),
        *(f"{path}{span_word}" for path in spans),
        *(f"{path}{step_word}" for path in steps),
        *(f"{path}:labels" for path in sentence_scores),
        *(f"{path}:labels,test" for path in test_steps),
    ]


ROLES: Final = (*get_args(Learn)[1:], *get_args(Part)[1:])
"""The words that need no value."""
