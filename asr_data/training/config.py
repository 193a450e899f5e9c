"""Settings of ``asr-annotate train-scorer``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, model_serializer, model_validator

from asr_data.redact import without_url_secrets
from asr_data.settings import Settings
from asr_data.types import CRITERIA, Criterion

Learn: TypeAlias = Literal["all", "preferences", "labels"]
Method: TypeAlias = Literal["adapter", "features"]
SourcePart: TypeAlias = Literal["all", "train", "test"]

_READING: Final = ("split", "name", "revision", "group", "scale", "criteria")
_WEIGHT: Final = re.compile(r"([+-]?)(?:(\d*\.?\d+)\*)?(\w+)")


class SourceConfig(Settings):
    """One source of training data, typed as ``INPUT`` or ``INPUT:WORD,WORD…``.

    A word is ``preferences`` or ``labels`` (what to learn), ``train`` or ``test`` (what to learn from or to measure
    on), ``split=``, ``name=``, ``revision=`` (as for ``run``), ``group=COLUMN``, ``scale=LOW..HIGH``,
    ``criteria=helpfulness+coherence-verbosity``, or a role of ``run --columns`` such as ``chosen=COLUMN`` or
    ``format=NAME``.
    """

    input: Annotated[str, Field(description="Whatever run takes as INPUT.")]
    learn: Annotated[
        Learn,
        Field(description="preferences: which response is preferred; labels: what is said of its parts; all: both."),
    ] = "all"
    part: Annotated[
        SourcePart,
        Field(description="train: hold nothing out; test: only measure; all: hold a share of the questions out."),
    ] = "all"
    split: str | None = None
    name: str | None = None
    revision: str | None = None
    columns: Annotated[dict[str, str], Field(description="Role to column, as run --columns.")] = Field(
        default_factory=dict
    )
    group: Annotated[
        str | None,
        Field(description="Column whose equal values are held out together; by default equal first user turns are."),
    ] = None
    scale: Annotated[
        tuple[float, float],
        Field(description="The worst and the best reward of labels; they become the targets 0 and 1."),
    ] = (0.0, 1.0)
    criteria: Annotated[dict[Criterion, float], Field(description="Criterion to weight, for sentence scores.")] = Field(
        default_factory=dict
    )

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
        place = without_url_secrets(self.input)  # reports and cards are published
        return f"{place}:{','.join(words)}" if words else place


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
        fields["scale"] = _parsed_scale(fields["scale"])
    if "criteria" in fields:
        fields["criteria"] = _parsed_weights(fields["criteria"])
    return {**fields, "columns": columns}


def _parsed_scale(typed: str) -> tuple[float, float]:
    low, _, high = typed.partition("..")
    try:
        return float(low), float(high)
    except ValueError:
        raise ValueError(f"scale={typed}: write the worst and the best reward as LOW..HIGH, such as 0..4") from None


def _parsed_weights(typed: str) -> dict[str, float]:
    """``helpfulness+0.5*coherence-verbosity`` as criterion → weight."""
    found = list(_WEIGHT.finditer(typed))
    if "".join(match.group() for match in found) != typed:
        raise ValueError(f"criteria={typed}: write criteria with + and - between them: helpfulness-0.5*verbosity")
    weights = {name: float(f"{sign}{factor or 1}") for sign, factor, name in (match.groups() for match in found)}
    if unknown := weights.keys() - set(CRITERIA):
        raise ValueError(f"criteria={typed}: {min(unknown)!r} is none of {', '.join(CRITERIA)}")
    return weights


def _weights(criteria: Mapping[Criterion, float]) -> str:
    """What :func:`_parsed_weights` reads."""
    signs = {name: "-" if weight < 0 else "+" for name, weight in criteria.items()}
    factors = {name: "" if abs(weight) == 1 else f"{abs(weight)!r}*" for name, weight in criteria.items()}
    return "".join(f"{signs[name]}{factors[name]}{name}" for name in criteria).removeprefix("+")


_ADAPTER_ONLY: Final = (
    *("lora_rank", "lora_layers", "epochs", "batch_tokens", "micro_batch_tokens", "learning_rate", "warmup"),
    *("rank_weight", "checkpoint_steps"),
)


class TrainingConfig(Settings):
    """What to train on and how. Every field is in the report, and all but ``sources`` are options by the same name.

    Example:
        from asr_data.training import TrainingConfig

        TrainingConfig(sources=["pairs.jsonl", "prm800k.jsonl:labels", "test.jsonl:test"], epochs=2)
    """

    sources: Annotated[
        tuple[SourceConfig, ...],
        Field(description="What to train and measure on; strings are read as on the command line."),
    ]
    base: Annotated[str, Field(description="Backbone: builtin, a directory or a Hub id.")] = "builtin"
    method: Annotated[
        Method,
        Field(
            description="adapter: fine-tune the model. features: keep it as it is, and fit a linear head to what it "
            "says of each token, with the other answer in view and without."
        ),
    ] = "adapter"
    layer: Annotated[
        int | None,
        Field(ge=1, description="features: read the hidden state after so many layers; default: half of them."),
    ] = None
    lora_rank: Annotated[
        int, Field(ge=0, description="Rank of the adapter on every linear layer; 0 trains the whole backbone.")
    ] = 16
    lora_layers: Annotated[
        int | None,
        Field(ge=1, description="Adapt only this many of the last layers; the layers below need no backward pass."),
    ] = None
    mixing: Annotated[
        float, Field(ge=0, le=1, description="A source of T tokens is drawn in proportion to T^MIXING.")
    ] = 0.5
    epochs: Annotated[
        int | None, Field(ge=1, description="Train on every example this many times, in place of --max-tokens.")
    ] = None
    max_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            description="Training tokens in all; 2,000,000 without --epochs. A source that runs out is repeated; with "
            "--method features it is not, and half as many held-out tokens are read, too.",
        ),
    ] = None
    batch_tokens: Annotated[int, Field(ge=64, description="Tokens per optimiser step.")] = 4096
    micro_batch_tokens: Annotated[
        int, Field(ge=64, description="Padded tokens per forward pass; bounds the memory.")
    ] = 2048
    max_length: Annotated[int, Field(ge=8, description="Longer examples are left out and counted.")] = 1024
    learning_rate: Annotated[float, Field(gt=0, description="Highest learning rate.")] = 5e-4
    warmup: Annotated[
        float,
        Field(ge=0, lt=1, description="Share of the steps with a rising learning rate; a cosine to a tenth follows."),
    ] = 0.05
    rank_weight: Annotated[
        float,
        Field(ge=0, le=1, description="Share of the ranking loss on labelled responses; the rest is cross-entropy."),
    ] = 0.5
    held_out: Annotated[float, Field(gt=0, lt=1, description="Share of the questions kept for the figures.")] = 0.15
    seed: Annotated[int, Field(description="Seed of every random choice.")] = 17
    checkpoint_steps: Annotated[
        int, Field(ge=1, description="Optimiser steps between checkpoints and lines of the curve.")
    ] = 50

    @model_validator(mode="after")
    def _fits(self) -> TrainingConfig:
        if not self.sources:
            raise ValueError("no training data: name at least one INPUT")
        if self.epochs is not None and self.max_tokens is not None:
            raise ValueError("epochs and max_tokens both say how long to train; give one of them")
        if self.layer is not None and self.method != "features":
            raise ValueError("layer is for method features")
        for name in _ADAPTER_ONLY if self.method == "features" else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for method adapter: features trains a head alone")
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
    """The sources that the options of version 0.1 stand for; they will be removed in the version after the next."""
    span_word = "" if span_pairs else ":labels"
    step_word = ":labels,train" if test_steps else ":labels"
    return [
        *(f"{path}:preferences" for path in preference),
        *(f"{path}{span_word}" for path in spans),
        *(f"{path}{step_word}" for path in steps),
        *(f"{path}:labels" for path in sentence_scores),
        *(f"{path}:labels,test" for path in test_steps),
    ]
