"""What ``evaluate`` writes: all figures as JSON, and as lines of a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from asr_data_cli.setting_text import mask_text

if TYPE_CHECKING:
    from asr_data.evaluation.comparing import Compared
    from asr_data.evaluation.evaluating import Evaluation, Sweep, SweptSetting
    from asr_data.masks.positions import KeptByPosition
    from asr_data.statistics.bootstrap import Comparison, Estimate


def of_evaluation(found: Evaluation) -> dict[str, object]:
    """One directory."""
    return {
        "evaluated": asdict(found.evaluated),
        "settings": found.mask.model_dump(mode="json"),
        "sigma": found.sigma,
        "measures": _estimates(found.estimates),
        "controls": _controls(found.controls, found.ahead),
        "kept_by_fifth": _positions(found.positions),
    }


def evaluation_lines(found: Evaluation) -> list[dict[str, object]]:
    """A line for each measure, and one for each measure of a control."""
    lines = [_line("", name, one, None) for name, one in found.estimates.items()]
    for control, measures in found.controls.items():
        lines += [_line(control, name, one, found.ahead[control][name]) for name, one in measures.items()]
    return lines


def of_compared(found: Compared) -> dict[str, object]:
    """Several directories; ``ahead`` is against the first."""
    return {
        "evaluated": asdict(found.evaluated),
        "rows": found.rows,
        "groups": found.groups,
        "directories": [
            {
                "directory": str(one.path),
                "settings": one.mask.model_dump(mode="json"),
                "left_out": one.left_out,
                "measures": _estimates(one.estimates),
                "ahead": {name: _comparison(given) for name, given in one.ahead.items()},
                "kept_by_fifth": _positions(one.positions),
            }
            for one in found.contenders
        ],
        "controls": _controls(found.controls, found.ahead),
    }


def compared_lines(found: Compared) -> list[dict[str, object]]:
    """A line for each measure of each directory, and of each control."""
    lines = []
    for one in found.contenders:
        lines += [
            {"directory": str(one.path), **_line("", name, given, one.ahead.get(name))}
            for name, given in one.estimates.items()
        ]
    first = str(found.contenders[0].path)
    for control, measures in found.controls.items():
        lines += [
            {"directory": first, **_line(control, name, given, found.ahead[control][name])}
            for name, given in measures.items()
        ]
    return lines


def of_sweep(tried: Sweep) -> dict[str, object]:
    """A sweep, its settings in order."""
    settings = [
        {
            "settings": one.mask.model_dump(mode="json"),
            "better": _estimate(one.better),
            "measures": _estimates(one.estimates),
        }
        for one in (tried.own, *tried.settings)
    ]
    return {
        "evaluated": asdict(tried.evaluated),
        "by": tried.by,
        "own": settings[0],
        "settings": settings[1:],
        "held_out": tried.held_out,
        "own_held_out": tried.own_held_out,
    }


def setting_line(one: SweptSetting) -> dict[str, object]:
    """A line of the CSV."""
    figures = {"better": one.better, **one.estimates}
    return {
        "options": mask_text(one.mask),
        **{f"{name}{end}": getattr(e, key) for name, e in figures.items() for end, key in _ENDS.items()},
    }


_ENDS = {"": "value", "_low": "low", "_high": "high"}


def _estimates(found: Mapping[str, Estimate]) -> dict[str, object]:
    return {name: _estimate(one) for name, one in found.items()}


def _estimate(one: Estimate) -> dict[str, float | None]:
    return {"value": one.value, "low": one.low, "high": one.high, "responses": one.items}


def _comparison(one: Comparison) -> dict[str, float | None]:
    return {**_estimate(one.ahead), "least": one.least}


def _controls(
    found: Mapping[str, Mapping[str, Estimate]], ahead: Mapping[str, Mapping[str, Comparison]]
) -> dict[str, object]:
    return {
        control: {
            name: {**_estimate(one), "ahead": _comparison(ahead[control][name])} for name, one in measures.items()
        }
        for control, measures in found.items()
    }


def _positions(found: Mapping[str, KeptByPosition]) -> dict[str, object]:
    return {side: {**asdict(one), "auroc": one.auroc} for side, one in found.items()}


def _line(control: str, name: str, one: Estimate, ahead: Comparison | None) -> dict[str, object]:
    """A line of the CSV; ``ahead`` is empty where there is nothing to be ahead of."""
    compared: dict[str, object] = dict.fromkeys(("ahead", "ahead_low", "ahead_high", "least"), None)
    if ahead is not None:
        values = (ahead.ahead.value, ahead.ahead.low, ahead.ahead.high, ahead.least)
        compared = dict(zip(compared, values, strict=True))
    return {"measure": name, "control": control, **_estimate(one), **compared}
