"""Annotation in memory, without an output directory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from asr_data.config import MaskConfig, OutputConfig
from asr_data.errors import InputError
from asr_data.pairs import PairConfig
from asr_data.pipeline.commands import run
from asr_data.progress import Progress
from asr_data.rows import detect, first_records, open_source
from asr_data.rows.in_memory import is_frame
from asr_data.scoring.protocol import Scorer
from asr_data.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from asr_data.scoring.reference import ReferenceModel

T = TypeVar("T")


def annotate(
    dataset: T,
    scorer: Scorer,
    tokenizer: Tokenizer | None = None,
    *,
    reference: ReferenceModel | None = None,
    columns: Mapping[str, str] | None = None,
    where: str | None = None,
    pairs: PairConfig = PairConfig(),  # noqa: B008 - frozen
    mask: MaskConfig = MaskConfig(),  # noqa: B008 - frozen
    prefix: str = "",
    progress: Progress | None = None,
) -> T:
    """Annotate a data set in memory: the columns are those of the files, rejected rows are left out.

    Args:
        dataset: rows in any layout that ``asr-annotate run`` takes: a ``datasets.Dataset``, a polars or pandas
            ``DataFrame``, or a list of dictionaries. The result is of the same kind; a pandas frame keeps its index.
        scorer: from :func:`asr_data.load_scorer`, or anything with its protocol.
        tokenizer: the policy's; default the scorer's.
        reference: from :func:`asr_data.scoring.reference.load_reference`, for ``S_ref_logp``.
        columns: role to column, where detection needs help.
        where: score only rows that meet this condition on the input's columns, in SQL.
        pairs: which pairs are made of a row with several answers; where these are several, rows of the result share
            their ``asr_row``, and ``asr_pair`` tells them apart.
        mask: segments and masks.
        prefix: put before every added column.
        progress: receives the progress.

    Raises:
        ConfigError: a condition that is none, or that no row meets; ``pairs`` for rows without several answers.
        InputError: no tokenizer, rows in another form, or no row could be annotated (the message counts the reasons).
        AsrDataError: see :mod:`asr_data.errors`.
    """
    from datasets import Dataset

    policy = tokenizer or scorer.tokenizer
    if policy is None:
        raise InputError("this scorer has no tokenizer of its own; pass the policy's as tokenizer=")
    source = open_source(dataset)
    if progress is not None:
        for note in source.notes:
            progress.message(note)
    layout = detect(source.schema, first_records(source), columns).with_pairs(pairs)
    source = source.selecting(where)
    with tempfile.TemporaryDirectory(prefix="asr-data-") as folder:
        output = Path(folder) / "out"
        writing = OutputConfig(prefix=prefix)
        summary = run(
            source, layout, output, scorer, policy, reference=reference, mask=mask, writing=writing, progress=progress
        )
        if not summary.annotated:
            raise InputError(f"none of the {summary.rows} rows could be annotated: {summary.rejects}")
        files = [str(path) for path in sorted((output / "data").glob("*.parquet"))]
        if isinstance(dataset, Dataset):
            found: Any = Dataset.from_parquet(files, keep_in_memory=True, cache_dir=str(Path(folder) / "cache"))
        else:
            found = _like(dataset, pa.concat_tables([pq.read_table(file) for file in files]), f"{prefix}asr_row")
        return cast(T, found)


def _like(given: Any, table: pa.Table, index_column: str) -> Any:
    """The annotated rows in the form that the input had."""
    if isinstance(given, list):
        return table.to_pylist()
    if is_frame(given, "polars"):
        import polars as pl

        return pl.from_arrow(table)
    frame = table.replace_schema_metadata(None).to_pandas()
    return frame.set_index(given.index[frame[index_column].to_numpy()])
