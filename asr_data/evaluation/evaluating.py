"""``evaluate``: an annotated directory against gold labels and beside controls, and a sweep over settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from asr_data.config import MaskConfig
from asr_data.errors import ConfigError, InputError
from asr_data.evaluation.controls import control_measures, of_side
from asr_data.evaluation.labelled_rows import Evaluated, GoldOptions, LabelledRows, load_labelled
from asr_data.evaluation.measures import FINDINGS, NEEDS_GOLD, TITLES, measure
from asr_data.evaluation.sweep import Setting, best, grid, half_of, try_settings
from asr_data.masks.batch import MaskedBatch
from asr_data.masks.positions import KeptByPosition, kept_by_position
from asr_data.statistics.bootstrap import Comparison, Estimate, GroupBootstrap, Measure
from asr_data.storage.manifest import Manifest
from asr_data.storage.reader import AnnotatedDirectory, open_output
from asr_data.text import Tokenizer
from asr_data.types import Bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The measures of an annotated directory, by the names of ``asr_data.evaluation.measures.TITLES``.

    Attributes:
        evaluated: what was.
        mask: the directory's settings.
        sigma: its noise σ.
        estimates: every measure.
        controls: by the names of ``asr_data.evaluation.controls.CONTROLS``, the measures of ``FINDINGS``.
        ahead: by how much the directory is better than each control, on the same prompts.
        positions: by side, what is kept in each fifth of the responses.
    """

    evaluated: Evaluated
    mask: MaskConfig
    sigma: float
    estimates: Mapping[str, Estimate]
    controls: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    ahead: Mapping[str, Mapping[str, Comparison]] = field(default_factory=dict)
    positions: Mapping[str, KeptByPosition] = field(default_factory=dict)


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
        held_out: the best setting of one half of the prompts judged on the other, the mean of both ways: what the best
            of so many can be expected to give elsewhere.
        own_held_out: the own setting, on the same halves.
    """

    evaluated: Evaluated
    by: str
    own: SweptSetting
    settings: Sequence[SweptSetting]
    held_out: float | None
    own_held_out: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """An annotated directory with every measure of its masks and of the controls, by response; R responses.

    Attributes:
        directory: it.
        loaded: its rows.
        measures: by the names of ``TITLES``.
        controls: by control, the measures of ``FINDINGS``.
        positions: by side, what is kept in each fifth of the responses.
    """

    directory: AnnotatedDirectory
    loaded: LabelledRows
    mask: MaskConfig
    measures: Mapping[str, Measure]
    controls: Mapping[str, Mapping[str, Measure]]
    positions: Mapping[str, KeptByPosition]


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
        ConfigError: gold or group is invalid.
    """
    judged = judge(directory, tokenizer, options)
    loaded = judged.loaded
    bootstrap = GroupBootstrap(loaded.groups, options.resamples, options.seed)
    names = names_of(loaded.evaluated)
    finding = [name for name in names if name in FINDINGS]
    return Evaluation(
        loaded.evaluated,
        judged.mask,
        judged.directory.manifest.statistics["sigma"],
        {name: bootstrap.estimate(judged.measures[name]) for name in names},
        {
            control: {name: bootstrap.estimate(measures[name]) for name in finding}
            for control, measures in judged.controls.items()
        },
        {
            control: {name: bootstrap.compare(judged.measures[name], measures[name]) for name in finding}
            for control, measures in judged.controls.items()
        },
        judged.positions,
    )


def judge(directory: Path, tokenizer: Tokenizer | None, options: GoldOptions) -> Judged:
    """Every measure of a directory's masks and of the controls; see :func:`evaluate`."""
    annotated = open_output(directory)
    manifest = annotated.manifest
    if manifest.mask is None:
        raise InputError(f"{directory} holds scores and no masks: asr-annotate mask {directory} -o DIR, or --sweep")
    loaded = load_labelled(annotated, tokenizer, options)
    if loaded.stored is None:
        raise InputError(f"{directory}: there are no segments to judge")
    sides = _sides(loaded, options.side)
    judged = loaded.labelled.judged(loaded.stored)
    how = {"tolerance": options.tolerance}
    measures = measure(judged, manifest.statistics["sigma"], step_reward=manifest.mask.segment_reward, **how)
    controls = control_measures(loaded.labelled, loaded.stored.token_reward, manifest.mask, seed=options.seed, **how)
    return Judged(
        annotated,
        loaded,
        manifest.mask,
        of_side(measures, sides),
        {name: of_side(one, sides) for name, one in controls.items()},
        _positions(loaded, loaded.stored, manifest.sides),
    )


def _sides(loaded: LabelledRows, side: Literal["both", "chosen", "rejected"]) -> Bool:
    """The responses that figures are of, bool ``[R]``."""
    preferred = loaded.labelled.batch.preferred
    return np.ones(preferred.size, dtype=np.bool_) if side == "both" else preferred == (side == "chosen")


def _positions(loaded: LabelledRows, stored: MaskedBatch, sides: Sequence[str]) -> dict[str, KeptByPosition]:
    batch = loaded.labelled.batch
    place = np.arange(batch.preferred.size) % len(sides)
    return {
        side: kept_by_position(stored.mask, batch.written & ~batch.end, batch.row_offsets, place == number)
        for number, side in enumerate(sides)
    }


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
    if by not in names_of(loaded.evaluated):
        raise ConfigError(f"--by {by} needs gold labels; name them with --gold")
    own = annotated.manifest.mask or MaskConfig()
    tried = [*_settings(loaded, annotated.manifest, own, settings)]
    sides = _sides(loaded, options.side)
    found = [
        Setting(one.mask, of_side(one.measures, sides))
        for one in try_settings(loaded.labelled, iter([own, *tried]), tolerance=options.tolerance)
    ]
    bootstrap = GroupBootstrap(loaded.groups, options.resamples, options.seed)
    names = names_of(loaded.evaluated)
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


def names_of(evaluated: Evaluated) -> list[str]:
    """The measures that can be had, with or without gold."""
    return [name for name in TITLES if evaluated.gold is not None or name not in NEEDS_GOLD]
