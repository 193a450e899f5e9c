"""What is found in each group of rows, such as the topics of a sample, beside what takes no model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from asr_data.evaluation.evaluating import judge
from asr_data.evaluation.labelled_rows import GoldOptions
from asr_data.statistics.bootstrap import Estimate, GroupBootstrap, Measure
from asr_data.types import Bool

ALL = "all"
"""Name of the line over all groups."""


@dataclass(frozen=True, slots=True)
class GroupFindings:
    """A measure in one group.

    Attributes:
        name: of the group, or ``ALL``.
        found: the figure with its interval over responses.
        controls: the same figure of each control, by the names of ``asr_data.evaluation.controls.CONTROLS``.
    """

    name: str
    found: Estimate
    controls: Mapping[str, float | None]

    @property
    def ahead(self) -> bool:
        """Whether the figure is higher than every control's."""
        others = [value for value in self.controls.values() if value is not None]
        return self.found.value is not None and all(self.found.value > other for other in others)


def findings_by_group(
    directory: Path,
    column: str,
    *,
    side: Literal["both", "chosen", "rejected"] = "both",
    measure: str = "segment_auroc",
) -> list[GroupFindings]:
    """A measure of ``FINDINGS`` in every group of rows, in the order of the rows, and over all rows at the end.

    Args:
        directory: made by ``run`` or ``mask``; its input has gold labels.
        column: the input column that names a row's group.
        side: the responses that count.
        measure: which one.

    Raises:
        InputError, ConfigError: see :func:`asr_data.evaluation.evaluate`.
    """
    judged = judge(directory, None, GoldOptions(group=column, side=side))
    groups = np.array(judged.loaded.groups)
    everything: Bool = np.ones(groups.size, dtype=np.bool_)
    names = list(dict.fromkeys(judged.loaded.groups))
    parts = {**{_name(one): groups == one for one in names}, ALL: everything}
    controls = {name: measures[measure] for name, measures in judged.controls.items()}
    return [
        GroupFindings(
            name, _estimate(judged.measures[measure], part), {key: one.value(part) for key, one in controls.items()}
        )
        for name, part in parts.items()
    ]


def _name(group: str) -> str:
    """The group as it stands in its column; groups are JSON."""
    value = json.loads(group)
    return value if isinstance(value, str) else group


def _estimate(measure: Measure, part: Bool) -> Estimate:
    counted = part & (measure.whole > 0)
    if not counted.any():
        return Estimate(None, None, None, 0)
    return GroupBootstrap(range(int(counted.sum()))).estimate(measure.of(counted))
