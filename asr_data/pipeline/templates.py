"""Chat templates before a run: they must accept its first rows, and are given one date."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from asr_data.pipeline.logprobs import LogProbabilities
from asr_data.rows import Layout, Source, normalise, read_rows, records_of
from asr_data.scoring.protocol import Scorer
from asr_data.storage import open_output
from asr_data.storage.manifest import MANIFEST_NAME
from asr_data.storage.reader import AnnotatedDirectory
from asr_data.storage.row_keys import row_numbers
from asr_data.storage.work import WorkState
from asr_data.text.clock import settle_date
from asr_data.text.probe import FIRST_ROWS, check_template
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Row


def first_rows(source: Source, layout: Layout) -> list[Row]:
    """The first rows that can be read, to see whether chat templates take them."""
    read = next(read_rows(source, layout, FIRST_ROWS, 0, min(FIRST_ROWS, source.rows)), [])
    return [row for row in read if isinstance(row, Row)]


def first_annotated(annotated: AnnotatedDirectory, layout: Layout) -> list[Row]:
    """The first rows of a finished directory."""
    names, prefix = list(annotated.manifest.input.column_types), annotated.manifest.prefix
    for batch in annotated.data_batches(FIRST_ROWS):
        numbered = zip(row_numbers(batch, prefix), records_of(batch.select(names)), strict=True)
        return [normalise(index, record, layout, pair) for (index, pair), record in numbered]
    return []


def check_templates(rows: list[Row], tokenizers: Iterable[Tokenizer | None]) -> None:
    """Before anything is scored: a template that can render no row is one error, not a reject for every row.

    Raises:
        ConfigError: see :func:`asr_data.text.probe.check_template`.
    """
    for tokenizer in tokenizers:
        if tokenizer is not None:
            check_template(tokenizer, rows)


def date_of_run(
    output: Path,
    scorer: Scorer,
    reference: LogProbabilities | None,
    policy: Tokenizer | None,
    asked: date | None,
    *,
    overwrite: bool,
) -> date | None:
    """The one date that all templates of a run are told, however often and wherever it is resumed."""
    tokenizers = (policy, scorer.tokenizer, None if reference is None else reference.tokenizer)
    return settle_date(tokenizers, asked or date_of_output(output, overwrite=overwrite))


def date_of_output(output: Path, *, overwrite: bool) -> date | None:
    """The date with which an output was begun; None where there is none yet, or it is going to be removed."""
    if overwrite or not output.is_dir():
        return None
    plan = WorkState(output).plan()
    if plan is None and (output / MANIFEST_NAME).is_file():
        plan = open_output(output, verify=False).manifest.plan
    return None if plan is None else plan.template_date
