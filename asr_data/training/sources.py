"""Reading training data: any input and any layout that ``run`` reads, by the same code.

A row that cannot be used is left out and counted under its reason code; the log (level INFO) names the row and says
what is wrong.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_data.errors import ConfigError, InputError, RowRejected
from asr_data.redact import without_secrets
from asr_data.rows import Layout, Source, detect, first_records, open_source, read_rows
from asr_data.rows.columns import column_type
from asr_data.rows.fetched import STANDARD_INPUT, is_url
from asr_data.rows.input_guard import InputGuard
from asr_data.training.config import SourceConfig
from asr_data.training.examples import Goal, TrainingExample, examples_of, identity
from asr_data.types import RejectedRow

logger = logging.getLogger(__name__)

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class SourceData:
    """What one source gave.

    Attributes:
        config: the source.
        name: its name in reports: folder and file without suffixes, or the Hub id.
        layout: what its rows were taken for, in words.
        fingerprint: sha256 of the content.
        rows: rows read, those left out among them.
        used: rows that gave an example.
        examples: in row order, each labelled response of a prompt once.
        left_out: rows that were left out, by reason code.
        first_left_out: the first of each, with its message.
        repeated: labelled responses left out because an equal one (same prompt, text and labels) came before; the
            pairs of one question often share an answer.
        notes: lines about the input, such as files that are not read.
    """

    config: SourceConfig
    name: str
    layout: str
    fingerprint: str
    rows: int
    used: int
    examples: list[TrainingExample] = field(repr=False)
    left_out: dict[str, int]
    first_left_out: dict[str, str]
    repeated: int
    notes: tuple[str, ...] = ()

    def summary(self) -> list[str]:
        """Lines for the user: what was found, how much of it is used, and why the rest is not."""
        goals = Counter(example.goal for example in self.examples)
        words: dict[Goal, str] = {
            "pair": "pairs",
            "verdict": "responses with a verdict",
            "labels": "labelled responses",
        }
        found = ", ".join(f"{goals[goal]:,} {word}" for goal, word in words.items() if goals[goal])
        lines = [f"{self.name}: {self.layout}", f"  {self.used:,} of {self.rows:,} rows used: {found or 'nothing'}"]
        if self.repeated:
            lines.append(f"  {self.repeated:,} labelled responses occur more than once and count once")
        lines += [
            f"  {count:,} rows left out, {code}: {self.first_left_out[code]}"
            for code, count in sorted(self.left_out.items())
        ]
        return [*lines, *(f"  {note}" for note in self.notes)]


def read_sources(configs: Sequence[SourceConfig]) -> list[SourceData]:
    """Read every source; two of one name are told apart by their place.

    Raises:
        ConfigError: a source that has no such column.
        InputError: a source that cannot be read, whose layout is not known, or that holds nothing to learn from.
    """
    names = [source_name(config) for config in configs]
    unique = [name if names.count(name) == 1 else f"{name} ({at})" for at, name in enumerate(names, 1)]
    return [read_source(config, name) for config, name in zip(configs, unique, strict=True)]


def read_source(config: SourceConfig, name: str | None = None) -> SourceData:
    """Read one source; see :func:`read_sources`."""
    if config.input == STANDARD_INPUT:
        raise ConfigError("train-scorer reads its sources by name; standard input (-) has none")
    source = open_source(config.input, split=config.split, name=config.name, revision=config.revision)
    try:
        layout = detect(source.schema, first_records(source), config.columns or None)
    except InputError as error:
        raise InputError(f"{source.description}: {error}") from error
    _check(config, layout, source)
    examples: list[TrainingExample] = []
    left_out: Counter[str] = Counter()
    first: dict[str, str] = {}
    seen: set[int] = set()
    offered = used = 0
    for row in (row for batch in InputGuard(source).watched(read_rows(source, layout, _BATCH)) for row in batch):
        try:
            if isinstance(row, RejectedRow):
                raise RowRejected(row.code, row.message)
            found = examples_of(row, config, verdicts=layout.kind == "unpaired")
        except RowRejected as rejected:
            left_out[rejected.code] += 1
            first.setdefault(rejected.code, f"row {row.index}: {rejected.message}")
            logger.info("%s, row %d: left out, %s: %s", source.description, row.index, rejected.code, rejected)
            continue
        new = [one for one in found if one.goal != "labels" or _is_new(one, seen)]
        examples += new
        offered += len(found) - len(new)
        used += 1
    data = SourceData(
        config=config,
        name=name or source_name(config),
        layout=layout.describe(),
        fingerprint=source.fingerprint,
        rows=source.rows,
        used=used,
        examples=examples,
        left_out=dict(left_out),
        first_left_out=first,
        repeated=offered,
        notes=source.notes,
    )
    if not used:
        raise InputError("\n".join(["no row can be used:", *data.summary()]))
    return data


def source_name(config: SourceConfig) -> str:
    """``folder/file`` without suffixes (``data/prmbench/train.jsonl.gz`` is ``prmbench/train``), or the Hub id."""
    if is_url(config.input):
        return without_secrets(config.input)
    path = Path(config.input)
    if not path.exists():
        return config.input
    stem = path.resolve().name.partition(".")[0]
    folder = path.resolve().parent.name
    name = f"{folder}/{stem}" if folder else stem
    return name if config.split is None else f"{name} ({config.split})"


def _check(config: SourceConfig, layout: Layout, source: Source) -> None:
    if config.group is not None and column_type(source.schema, config.group) is None:
        raise ConfigError(f"{config}: group={config.group}: no such column; there are {', '.join(source.schema.names)}")
    labelled = layout.format is not None or bool(layout.label_units)
    paired = len(layout.sides) == 2 or layout.kind == "unpaired"
    wanted = {"labels": labelled, "preferences": paired, "all": labelled or paired}[config.learn]
    if not wanted:
        what = {"labels": "labels", "preferences": "preferences", "all": "preferences or labels"}[config.learn]
        raise InputError(
            f"{source.description} holds no {what}: {layout.describe()}; columns with labels are named by "
            "chosen_labels=COLUMN, rejected_labels=COLUMN or completion_labels=COLUMN"
        )


def _is_new(example: TrainingExample, seen: set[int]) -> bool:
    key = identity(example)
    if key in seen:
        return False
    seen.add(key)
    return True
