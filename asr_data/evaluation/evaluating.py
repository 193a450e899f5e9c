"""``evaluate``: an annotated directory against gold labels, and a sweep over settings from its stored scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from asr_data.config import MaskConfig
from asr_data.errors import ConfigError, InputError
from asr_data.evaluation.labelled_rows import Evaluated, GoldOptions, LabelledRows, load_labelled
from asr_data.evaluation.measures import NEEDS_GOLD, TITLES, measure
from asr_data.evaluation.sweep import Setting, best, grid, half_of, try_settings
from asr_data.statistics.bootstrap import Estimate, GroupBootstrap
from asr_data.storage.manifest import Manifest
from asr_data.storage.reader import open_output
from asr_data.text import Tokenizer


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The measures of an annotated directory, by the names of ``asr_data.evaluation.measures.TITLES``."""

    evaluated: Evaluated
    mask: MaskConfig
    sigma: float
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class SweptSetting:
    """One setting of a sweep: its measures, and by how much it is better than the directory's own setting."""

    mask: MaskConfig
    estimates: Mapping[str, Estimate]
    better: Estimate


@dataclass(frozen=True, slots=True)
class Sweep:
    """Settings, best first, by the measure ``by``.

    Attributes:
        evaluated: what was.
        own: the directory's own setting; the default one where it has no masks.
        settings: every setting that was tried.
        held_out: the best setting of one half of the prompts judged on the other, the mean of both ways: what the
            best of so many is to be expected to bring elsewhere.
        own_held_out: the own setting, on the same halves.
    """

    evaluated: Evaluated
    by: str
    own: SweptSetting
    settings: Sequence[SweptSetting]
    held_out: float | None
    own_held_out: float | None


def evaluate(
    directory: Path,
    tokenizer: Tokenizer | None = None,
    *,
    options: GoldOptions = GoldOptions(),  # noqa: B008
) -> Evaluation:
    """Judge the masks of a directory.

    Args:
        directory: made by ``run`` or ``mask``.
        tokenizer: the policy's; default the one that the directory was made with.
        options: what is gold.

    Raises:
        InputError: no masks, no row that can be judged, or other tokens than the directory's.
        ConfigError: gold or group cannot be right.
    """
    annotated = open_output(directory)
    manifest = annotated.manifest
    if manifest.mask is None:
        raise InputError(f"{directory} holds scores and no masks: asr-annotate mask {directory} -o DIR, or --sweep")
    loaded = load_labelled(annotated, tokenizer, options)
    if loaded.stored is None:
        raise InputError(f"{directory}: there are no segments to judge")
    sigma = manifest.statistics["sigma"]
    judged = loaded.labelled.judged(loaded.stored)
    measures = measure(judged, sigma, tolerance=options.tolerance, step_reward=manifest.mask.segment_reward)
    bootstrap = GroupBootstrap(loaded.groups, options.resamples, options.seed)
    estimates = {name: bootstrap.estimate(measures[name]) for name in _names(loaded.evaluated)}
    return Evaluation(loaded.evaluated, manifest.mask, sigma, estimates)


def sweep(
    directory: Path,
    tokenizer: Tokenizer | None = None,
    *,
    options: GoldOptions = GoldOptions(),  # noqa: B008
    by: str = "f1",
    settings: Sequence[MaskConfig] | None = None,
) -> Sweep:
    """Judge many settings of segments and masks on the stored scores; no model is run.

    Args:
        directory: made by ``score``, ``run`` or ``mask``.
        tokenizer: the policy's; default the one that the directory was made with.
        options: what is gold.
        by: the measure that orders the settings, one of ``TITLES``.
        settings: what to try; default the grid of ``asr_data.evaluation.sweep``.

    Raises:
        InputError, ConfigError: see :func:`evaluate`.
    """
    if by not in TITLES:
        raise ConfigError(f"--by {by}: no such measure; there are {', '.join(TITLES)}")
    annotated = open_output(directory)
    loaded = load_labelled(annotated, tokenizer, options)
    if by not in _names(loaded.evaluated):
        raise ConfigError(f"--by {by} needs gold labels; name them with --gold")
    own = annotated.manifest.mask or MaskConfig()
    tried = [*_settings(loaded, annotated.manifest, own, settings)]
    found = list(try_settings(loaded.labelled, iter([own, *tried]), tolerance=options.tolerance))
    bootstrap = GroupBootstrap(loaded.groups, options.resamples, options.seed)
    names = _names(loaded.evaluated)
    first = found[0].measures[by]
    swept = [
        SweptSetting(
            setting.mask,
            {name: bootstrap.estimate(setting.measures[name]) for name in names},
            bootstrap.difference(setting.measures[by], first),
        )
        for setting in found
    ]
    ordered = sorted(swept[1:], key=lambda one: -_or_less(one.estimates[by].value))
    held_out, own_held_out = _across_halves(found, loaded.groups, by)
    return Sweep(loaded.evaluated, by, swept[0], ordered, held_out, own_held_out)


def _or_less(value: float | None) -> float:
    return float("-inf") if value is None else value


def _settings(
    loaded: LabelledRows, manifest: Manifest, own: MaskConfig, settings: Sequence[MaskConfig] | None
) -> Iterator[MaskConfig]:
    """The settings to try, without what the scorer's answers do not allow."""
    if settings is not None:
        return iter(settings)
    increments_possible = manifest.scorer.form == "value" and not np.isnan(loaded.labelled.batch.initial).any()
    rewards: tuple[Literal["value", "delta"], ...] = ("value", "delta") if increments_possible else ("value",)
    return grid(own, rewards)


def _across_halves(found: Sequence[Setting], groups: Sequence[str], by: str) -> tuple[float | None, float | None]:
    half = half_of(groups)
    chosen, own = [], []
    for mine in (half, ~half):
        if found[0].measures[by].value(mine) is None:
            return None, None
        chosen.append(best(found, by, mine).measures[by].value(~mine))
        own.append(found[0].measures[by].value(~mine))
    return _mean(chosen), _mean(own)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _names(evaluated: Evaluated) -> list[str]:
    return [name for name in TITLES if evaluated.gold is not None or name not in NEEDS_GOLD]
