"""Settings of ``asr-annotate train-scorer``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_serializer, model_validator

from asr_data.types import Criterion

Learn: TypeAlias = Literal["all", "preferences", "labels"]
Part: TypeAlias = Literal["all", "train", "test"]

_READING: Final = ("split", "name", "revision", "group", "scale", "criteria")
_WEIGHT: Final = re.compile(r"([+-]?)(?:(\d*\.?\d+)\*)?(\w+)")


class SourceConfig(BaseModel):
    """One source of training data, typed as ``INPUT`` or ``INPUT:WORD,WORD…``.

    A word is ``preferences`` or ``labels`` (what to learn), ``train`` or ``test`` (what to learn from or to measure
    on), ``split=``, ``name=``, ``revision=`` (as for ``run``), ``group=COLUMN``, ``scale=LOW..HIGH``,
    ``criteria=helpfulness+coherence-verbosity``, or a role of ``run --columns`` such as ``chosen=COLUMN`` or
    ``format=NAME``.
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
    criteria: dict[Criterion, FiniteFloat] = Field(default_factory=dict)
    """Criterion → weight; see :class:`asr_data.scoring.config.LabelsConfig`."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return _parsed(str(value)) if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _fits(self) -> SourceConfig:
        if self.criteria and not any(self.criteria.values()):
            raise ValueError("criteria: at least one weight must not be 0")
        if not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale={self.scale[0]:g}..{self.scale[1]:g}: the first number must be the lower one")
        return self

    @model_serializer
    def __str__(self) -> str:
        words: list[str] = [word for word in (self.learn, self.part) if word != "all"]
        named = {key: getattr(self, key) for key in ("split", "name", "revision", "group")}
        words += [f"{key}={value}" for key, value in named.items() if value is not None]
        words += [] if self.scale == (0.0, 1.0) else [f"scale={self.scale[0]:g}..{self.scale[1]:g}"]
        words += [f"criteria={_weights(self.criteria)}"] if self.criteria else []
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
    if "criteria" in fields:
        fields["criteria"] = _parsed_weights(fields["criteria"])
    return {**fields, "columns": columns}


def _parsed_weights(typed: str) -> dict[str, float]:
    """``helpfulness+0.5*coherence-verbosity`` as criterion → weight."""
    found = list(_WEIGHT.finditer(typed))
    if "".join(match.group() for match in found) != typed:
        raise ValueError(f"criteria={typed}: write criteria with + and - between them: helpfulness-0.5*verbosity")
    return {name: float(f"{sign}{factor or 1}") for sign, factor, name in (match.groups() for match in found)}


def _weights(criteria: Mapping[Criterion, float]) -> str:
    """What :func:`_parsed_weights` reads."""
    signs = {name: "-" if weight < 0 else "+" for name, weight in criteria.items()}
    factors = {name: "" if abs(weight) == 1 else f"{abs(weight)!r}*" for name, weight in criteria.items()}
    return "".join(f"{signs[name]}{factors[name]}{name}" for name in criteria).removeprefix("+")


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
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Train on every example this many times, whatever its source's size; in place of ``max_tokens``."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Training tokens in all; a source is repeated in a new order when it runs out. Without ``epochs``: 2,000,000."""
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
    def _ends_once(self) -> TrainingConfig:
        if self.epochs is not None and self.max_tokens is not None:
            raise ValueError("epochs and max_tokens both say how long to train; give one of them")
        return self


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
