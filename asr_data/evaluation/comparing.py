"""Several annotated directories of the same rows, judged side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from asr_data.config import MaskConfig
from asr_data.errors import ConfigError, InputError
from asr_data.evaluation.evaluating import Judged, judge, names_of
from asr_data.evaluation.labelled_rows import Evaluated, GoldOptions
from asr_data.evaluation.measures import FINDINGS
from asr_data.masks.positions import KeptByPosition
from asr_data.statistics.bootstrap import Comparison, Estimate, GroupBootstrap, Measure
from asr_data.storage.manifest import Manifest
from asr_data.storage.plan import plan_differences
from asr_data.text import Tokenizer
from asr_data.types import Bool


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the directories, over the rows that all of them have.

    Attributes:
        path: it.
        mask: its settings.
        left_out: rows of it that were evaluated there and that another directory lacks.
        estimates: every measure.
        ahead: by how much it is better than the first directory; empty for that one.
        positions: by side, what is kept in each fifth of its responses, of all rows that could be evaluated.
    """

    path: Path
    mask: MaskConfig
    left_out: int
    estimates: Mapping[str, Estimate]
    ahead: Mapping[str, Comparison]
    positions: Mapping[str, KeptByPosition]


@dataclass(frozen=True, slots=True)
class Compared:
    """Directories of the same rows.

    Attributes:
        evaluated: what was, of the first directory before rows were left out; ``rows`` and ``groups`` are those below.
        rows: how many rows all of them have.
        groups: prompts among them, or what ``group`` named.
        contenders: the directories, in the order given.
        controls: by control, made with the settings of the first directory, the measures of ``FINDINGS``.
        ahead: by how much the first directory is better than each control.
    """

    evaluated: Evaluated
    rows: int
    groups: int
    contenders: Sequence[Contender]
    controls: Mapping[str, Mapping[str, Estimate]]
    ahead: Mapping[str, Mapping[str, Comparison]]


def compare(
    directories: Sequence[Path],
    tokenizer: Tokenizer | None = None,
    *,
    options: GoldOptions = GoldOptions(),  # noqa: B008
) -> Compared:
    """Judge the masks of several directories on the rows that all of them have, and pair by pair against the first.

    Args:
        directories: made by ``run`` or ``mask`` from the same input, whatever the scorers, tokenizers and settings.
        tokenizer: the policy's; default the one that each directory was made with.
        options: what is gold.

    Raises:
        ConfigError: the same directory twice, or what :func:`asr_data.evaluation.evaluate` refuses.
        InputError: different inputs, no row that all have, or what :func:`asr_data.evaluation.evaluate` refuses.
    """
    if len({path.resolve() for path in directories}) < len(directories):
        raise ConfigError("a directory is given twice: each is compared with the first")
    judged: list[Judged] = []
    for path in directories:
        judged.append(judge(path, tokenizer, options))
        require_same_input(judged[0].directory.manifest, judged[-1].directory.manifest, directories[0], path)
    common = _common(judged)
    masks = [np.isin(one.loaded.labelled.batch.group, common) for one in judged]
    groups = [group for group, wanted in zip(judged[0].loaded.groups, masks[0], strict=True) if wanted]
    bootstrap = GroupBootstrap(groups, options.resamples, options.seed)
    names = names_of(judged[0].loaded.evaluated)
    measures = [_of(one.measures, mask, names) for one, mask in zip(judged, masks, strict=True)]
    finding = [name for name in names if name in FINDINGS]
    controls = {name: _of(one, masks[0], finding) for name, one in judged[0].controls.items()}
    return Compared(
        judged[0].loaded.evaluated,
        int(common.size),
        len(set(groups)),
        [
            Contender(
                path,
                one.mask,
                one.loaded.evaluated.rows - int(common.size),
                {name: bootstrap.estimate(own[name]) for name in names},
                {} if place == 0 else {name: bootstrap.compare(own[name], measures[0][name]) for name in names},
                one.positions,
            )
            for place, (path, one, own) in enumerate(zip(directories, judged, measures, strict=True))
        ],
        {control: {name: bootstrap.estimate(own[name]) for name in finding} for control, own in controls.items()},
        {
            control: {name: bootstrap.compare(measures[0][name], own[name]) for name in finding}
            for control, own in controls.items()
        },
    )


def require_same_input(first: Manifest, other: Manifest, first_path: Path, path: Path) -> None:
    """Refuse a directory with other rows, or with rows read in another way; only the input's name may differ."""
    decisive = {"fingerprint", "rows", "columns", "column_types"}
    records: list[dict[str, JsonValue]] = [
        {
            "input": one.input.model_dump(mode="json", include=decisive),
            "layout": one.plan.layout.model_dump(mode="json"),
        }
        for one in (first, other)
    ]
    differences = plan_differences(*records)
    if differences:
        lines = "\n  ".join(differences)
        raise InputError(f"{path}: is not of the same input as {first_path}; it differs in:\n  {lines}")


def _common(judged: Sequence[Judged]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The input rows that every directory has and can judge, ascending."""
    common = np.unique(judged[0].loaded.labelled.batch.group)
    for one in judged[1:]:
        common = np.intersect1d(common, one.loaded.labelled.batch.group)
    if not common.size:
        counts = ", ".join(f"{one.directory.path}: {one.loaded.evaluated.rows}" for one in judged)
        raise InputError(f"there is no row that all of these directories have and can be judged by ({counts})")
    return common


def _of(measures: Mapping[str, Measure], chosen: Bool, names: Sequence[str]) -> dict[str, Measure]:
    """The measures over the responses of the common rows, in their order."""
    return {name: measures[name].of(chosen) for name in names}
