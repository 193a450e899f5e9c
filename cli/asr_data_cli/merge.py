"""``merge``: the parts that several machines made, into one output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr_data_cli import options as opt
from asr_data_cli import settings
from asr_data_cli.ending import finish, finish_scored
from asr_data_cli.progress import progress

MERGE_EXAMPLES = (
    "asr-annotate merge part-0 part-1 part-2 part-3 -o annotated",
    "asr-annotate merge parts/* -o annotated",
)


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR",
            help="What `run` or `score` wrote with --num-shards: every part, in any order.",
            show_default=False,
        ),
    ],
    output: opt.Output,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    strict: opt.Strict = False,
) -> None:
    """Join the parts of a data set into what one run would have written, byte for byte; no model is needed."""
    from asr_data import pipeline

    settings.write_over(resume=resume, overwrite=overwrite)
    with progress() as reporter:
        summary = pipeline.merge(parts, output, resume=resume, overwrite=overwrite, progress=reporter)
    ended = finish if summary.sides else finish_scored
    ended(summary, strict=strict)
