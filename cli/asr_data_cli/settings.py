"""From the words of the command line to typed settings.

Every function names the option in its error. :class:`Checks` gathers the errors, so that a user sees all of
them at once and not one per attempt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeAlias, TypeVar

from asr_data.config import (
    BaselineConfig,
    BoundaryWeights,
    DatasetBaseline,
    FixedBaseline,
    MaskConfig,
    OptimalConfig,
    PairBaseline,
    Part,
    PivotConfig,
    RunningBaseline,
    SchmittConfig,
    SegmenterConfig,
    SequenceBaseline,
    SequenceConfig,
    StepConfig,
    TokenConfig,
)
from asr_data.errors import ConfigError

T = TypeVar("T")
F = TypeVar("F")

SegmenterName: TypeAlias = Literal["pivot", "schmitt", "optimal", "step", "token", "sequence"]

# Which segmenter each of its settings belongs to.
_OWNER: Mapping[str, SegmenterName] = {
    "--tau": "pivot",
    "--delta": "schmitt",
    "--penalty": "optimal",
    "--boundary": "optimal",
}


class Checks:
    """Collects the errors of several settings."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def attempt(self, build: Callable[[], T], fallback: F) -> T | F:
        """What ``build`` returns; where it raises ConfigError, note the message and give ``fallback``."""
        try:
            return build()
        except ConfigError as error:
            self.note(str(error))
            return fallback

    def note(self, message: str) -> None:
        """Add one error."""
        self._messages.append(message)

    def finish(self) -> None:
        """Raise ConfigError with every error noted, if there is one."""
        if len(self._messages) == 1:
            raise ConfigError(self._messages[0])
        if self._messages:
            lines = "".join(f"\n  {message}" for message in self._messages)
            raise ConfigError(f"{len(self._messages)} options cannot be right:{lines}")


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """The segment and mask options as typed by the user; None where not given."""

    segmenter: SegmenterName
    tau: str | None
    delta: str | None
    penalty: str | None
    boundary: str | None
    baseline: str
    reward: Literal["value", "delta"]
    sequence_reward: Literal["mean", "last", "sum", "scorer"]
    segment_reward: Literal["mean", "last"]
    noise: Literal["dataset", "response"]
    on_empty: Literal["keep-all", "keep-best", "drop"]
    end_token: Literal["keep", "mask", "segment"]


def mask_config(options: MaskOptions, checks: Checks) -> MaskConfig:
    """Settings of segments and masks; errors go to ``checks``, with defaults in their place."""
    return MaskConfig(
        segmenter=segmenter(options, checks),
        baseline=checks.attempt(lambda: baseline(options.baseline), PairBaseline()),
        reward=options.reward,
        sequence_reward=options.sequence_reward,
        segment_reward=options.segment_reward,
        noise=options.noise,
        on_empty=options.on_empty,
        end_token=options.end_token,
    )


def segmenter(options: MaskOptions, checks: Checks) -> SegmenterConfig:
    """The segmenter chosen; a setting that belongs to another one is an error."""
    given = {
        "--tau": options.tau,
        "--delta": options.delta,
        "--penalty": options.penalty,
        "--boundary": options.boundary,
    }
    for option, text in given.items():
        if text is not None and _OWNER[option] != options.segmenter:
            checks.note(f"{option} belongs to --segmenter {_OWNER[option]} and means nothing to {options.segmenter}")
    match options.segmenter:
        case "pivot":
            return checks.attempt(lambda: pivot(options.tau or "auto"), PivotConfig())
        case "schmitt":
            return checks.attempt(lambda: schmitt(options.delta or "auto"), SchmittConfig())
        case "optimal":
            return _optimal(options, checks)
        case "step":
            return StepConfig()
        case "token":
            return TokenConfig()
        case "sequence":
            return SequenceConfig()


def pivot(text: str) -> PivotConfig:
    """``0.2``, ``auto`` or ``auto:4`` (four robust standard deviations)."""
    head, colon, deviations = text.partition(":")
    if head == "auto" and colon:
        k = _number("--tau", deviations, "auto:K with a number K > 0", lambda value: value > 0)
        return PivotConfig(tau="auto", k=k)
    if text == "auto":
        return PivotConfig()
    return PivotConfig(tau=_number("--tau", text, "a number >= 0, auto or auto:K", lambda value: value >= 0))


def schmitt(text: str) -> SchmittConfig:
    """``0.05``, ``auto`` (the noise σ) or ``auto:2`` (two of it)."""
    head, colon, multiple = text.partition(":")
    if head == "auto" and colon:
        k = _number("--delta", multiple, "auto:K with a number K > 0", lambda value: value > 0)
        return SchmittConfig(delta="auto", k=k)
    if text == "auto":
        return SchmittConfig()
    return SchmittConfig(delta=_number("--delta", text, "a number >= 0, auto or auto:K", lambda value: value >= 0))


def penalty(text: str) -> float | Literal["paper", "bic"]:
    """``paper`` (σ²), ``bic`` (2σ² ln n) or the number c²."""
    match text:
        case "paper":
            return "paper"
        case "bic":
            return "bic"
    return _number("--penalty", text, "paper, bic or a number >= 0", lambda value: value >= 0)


def boundary(text: str) -> BoundaryWeights:
    """``sentence=1,word=50``: what a cut costs where such a thing starts; what is not named costs 1."""
    places = {name.replace("_", "-"): name for name in BoundaryWeights.model_fields}
    weights: dict[str, float] = {}
    for name, weight in _pairs("--boundary", text, places).items():
        expected = f"a number > 0 for {name}"
        weights[places[name]] = _number("--boundary", weight, expected, lambda value: value > 0)
    return BoundaryWeights(**weights)


def baseline(text: str) -> BaselineConfig:
    """A number, ``sequence``, ``pair``, ``dataset[:mean|median|0.3]`` or ``running[:0.99]``."""
    head, colon, detail = text.partition(":")
    if not colon:
        match head:
            case "sequence":
                return SequenceBaseline()
            case "pair":
                return PairBaseline()
            case "dataset":
                return DatasetBaseline()
            case "running":
                return RunningBaseline()
    if head == "dataset":
        match detail:
            case "mean":
                return DatasetBaseline(statistic="mean")
            case "median":
                return DatasetBaseline(statistic="median")
        expected = "dataset:mean, dataset:median or dataset:Q with a quantile Q from 0 to 1"
        return DatasetBaseline(statistic=_number("--baseline", detail, expected, lambda value: 0 <= value <= 1))
    if head == "running":
        expected = "running:D with a decay D between 0 and 1"
        return RunningBaseline(decay=_number("--baseline", detail, expected, lambda value: 0 < value < 1))
    expected = "a number, sequence, pair, dataset, dataset:mean, dataset:0.3, running or running:0.99"
    return FixedBaseline(value=_number("--baseline", text, expected, lambda _: True))


def batch_tokens(text: str) -> int | Literal["auto"]:
    """``auto`` or a whole number of at least 1."""
    if text == "auto":
        return "auto"
    # Python refuses to read numbers of thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) >= 1):
        raise ConfigError(f"--batch-tokens is {text[:99]!r}: expected auto or a whole number >= 1")
    return int(text)


def columns(texts: Sequence[str]) -> dict[str, str]:
    """``prompt=question,chosen=answer_a``: role to column; the option may be given several times."""
    found: dict[str, str] = {}
    for text in texts:
        for role, column in _pairs("--columns", text, None).items():
            if role in found:
                raise ConfigError(f"--columns names {role} twice: {found[role]!r} and {column!r}")
            found[role] = column
    return found


def write_over(*, resume: bool, overwrite: bool) -> None:
    """Refuse the two answers to an existing output given together."""
    if resume and overwrite:
        raise ConfigError("--resume continues what is there and --overwrite deletes it: give one of them")


def part(num_shards: int | None, shard_index: int | None) -> Part | None:
    """Which share of the data set is meant; None for all of it."""
    if num_shards is None and shard_index is None:
        return None
    if num_shards is None or shard_index is None:
        raise ConfigError("--num-shards N and --shard-index I go together: part I of N, I from 0")
    if shard_index >= num_shards:
        raise ConfigError(f"--shard-index is {shard_index}: with --num-shards {num_shards} it is 0 to {num_shards - 1}")
    return Part(num_shards=num_shards, shard_index=shard_index)


def template_date(text: str | None) -> date | None:
    """The date in ``--template-date``; None where it was not given."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--template-date {text}: not a date like 2026-01-31") from error


def _optimal(options: MaskOptions, checks: Checks) -> OptimalConfig:
    given: dict[str, float | str | BoundaryWeights] = {}
    cost, factors = options.penalty, options.boundary
    if cost is not None:
        given["penalty"] = checks.attempt(lambda: penalty(cost), "paper")
    if factors is not None:
        given["boundary"] = checks.attempt(lambda: boundary(factors), BoundaryWeights())
    return OptimalConfig.model_validate(given)


def _number(option: str, text: str, expected: str, allowed: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and allowed(value)):
        raise ConfigError(f"{option} is {text!r}: expected {expected}")
    return value


def _pairs(option: str, text: str, names: Mapping[str, str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise ConfigError(f"{option} is {text!r}: expected NAME=VALUE,NAME=VALUE")
        if names is not None and name not in names:
            raise ConfigError(f"{option} names {name!r}: expected {', '.join(names)}")
        if name in found:
            raise ConfigError(f"{option} names {name!r} twice")
        found[name] = value
    return found
