"""The report of a training run: a model card for people, ``report.json`` for programs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr_data.errors import StorageError

CURVE_ROWS = 12
"""Rows of the loss curve in the card; ``report.json`` has all of it."""

_CARD_KEYS = ("license", "base_model", "tags")


@dataclass(frozen=True, slots=True)
class Figure:
    """One held-out figure, beside what chance and length alone would give.

    Attributes:
        name: what was measured, on which data.
        value: the figure.
        low: lower end of its bootstrap interval, or None where there is none.
        high: upper end.
        chance: what random rewards give, or None where that is not known.
        length_baseline: what length or position alone gives on the same items, or None.
        items: pairs or responses measured.
        groups: questions that they belong to; what the bootstrap drew.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    chance: float | None
    length_baseline: float | None
    items: int
    groups: int


def write_report(
    directory: str | Path,
    config: Mapping[str, Any],
    data_counts: Mapping[str, int],
    skipped: Mapping[str, int],
    curve: Sequence[Mapping[str, Any]],
    figures: Sequence[Figure],
) -> None:
    """Write ``README.md`` and ``report.json``; a reader sees an old file or a new one, never half of one.

    Args:
        directory: made where it is missing.
        config: every setting, as JSON values. ``license``, ``base_model`` and ``tags`` go into the card's
            YAML, ``command`` and ``seed`` under "How it was made", all others into the table of settings.
        data_counts: what was trained and measured on: examples by part and source.
        skipped: what was left out, by source and reason.
        curve: one entry per point, such as ``{"step": 50, "loss": 0.69}``, all with the same keys.
        figures: held-out figures.

    Raises:
        StorageError: the directory cannot be written.
    """
    content = {
        "config": dict(config),
        "data": dict(data_counts),
        "skipped": dict(skipped),
        "figures": [asdict(figure) for figure in figures],
        "curve": list(curve),
    }
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _replace(directory / "report.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        _replace(directory / "README.md", model_card(config, data_counts, skipped, curve, figures))
    except OSError as error:
        raise StorageError(f"{directory}: the training report cannot be written: {error}") from error


def model_card(
    config: Mapping[str, Any],
    data_counts: Mapping[str, int],
    skipped: Mapping[str, int],
    curve: Sequence[Mapping[str, Any]],
    figures: Sequence[Figure],
) -> str:
    """Return the model card, in Markdown with YAML front matter; arguments as :func:`write_report`."""
    settings = {key: value for key, value in config.items() if key not in {*_CARD_KEYS, "command", "seed"}}
    sections = [
        _front_matter(config),
        "# Token reward model\n",
        "Gives a reward to every token of a response. Trained with `asr-annotate train-scorer`.\n",
        "## Held-out figures\n",
        _figures_section(figures),
        "## Data\n",
        _counts_table(("data", "examples"), data_counts),
        _skipped_section(skipped),
        "## How it was made\n",
        _command_section(config),
        _table(("setting", "value"), sorted((key, _inline(value)) for key, value in settings.items())),
        "## Loss\n",
        _curve_table(curve),
    ]
    return "\n".join(section for section in sections if section)


def _front_matter(config: Mapping[str, Any]) -> str:
    # JSON is valid YAML, and quotes whatever needs quoting.
    lines = [f"{key}: {json.dumps(config[key], ensure_ascii=False)}" for key in _CARD_KEYS if key in config]
    return "\n".join(["---", *lines, "---\n"])


def _figures_section(figures: Sequence[Figure]) -> str:
    if not figures:
        return "No data was held out, so there are none.\n"
    header = ("figure", "value", "95 % interval", "chance", "length or position alone", "items", "questions")
    rows = [
        (
            figure.name,
            _decimal(figure.value),
            _interval(figure),
            _decimal(figure.chance),
            _decimal(figure.length_baseline),
            f"{figure.items:,}",
            f"{figure.groups:,}",
        )
        for figure in figures
    ]
    note = "Whole questions are held out. Intervals: percentile bootstrap over questions.\n"
    return _table(header, rows) + "\n" + note


def _skipped_section(skipped: Mapping[str, int]) -> str:
    if not skipped:
        return "Nothing was left out.\n"
    return "Left out, and why:\n\n" + _counts_table(("source and reason", "rows or examples"), skipped)


def _counts_table(header: tuple[str, str], counts: Mapping[str, int]) -> str:
    return _table(header, ((name, f"{count:,}") for name, count in sorted(counts.items())))


def _command_section(config: Mapping[str, Any]) -> str:
    lines = [f"```sh\n{config['command']}\n```\n"] if "command" in config else []
    if "seed" in config:
        lines.append(f"Seed: {config['seed']}\n")
    return "\n".join(lines)


def _curve_table(curve: Sequence[Mapping[str, Any]]) -> str:
    if not curve:
        return "No step was taken.\n"
    count = min(len(curve), CURVE_ROWS)
    # Evenly spaced, with the first and the last point among them.
    chosen = [curve[index * (len(curve) - 1) // max(count - 1, 1)] for index in range(count)]
    names = list(dict.fromkeys(name for point in curve for name in point))
    return _table(names, [[_inline(point.get(name)) for name in names] for point in chosen])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return "–"
    return f"{figure.low:.3f} to {figure.high:.3f}"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _inline(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _replace(path: Path, text: str) -> None:
    """Write a file beside its place, then rename it there, so that no half-written file is ever seen."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
