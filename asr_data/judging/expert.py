"""``undecided.csv``: pairs without a majority, for an expert to decide."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from asr_data.errors import InputError
from asr_data.judging.pairs import expert_pick
from asr_data.judging.verdict import Pick
from asr_data.judging.votes import Outcome
from asr_data.storage.commit import commit_bytes

PILE_NAME: Final = "undecided.csv"

_COLUMNS: Final = ("row", "expert", "prompt", "first", "second", "reference")
_ENCODING: Final = "utf-8-sig"  # without the mark, spreadsheets assume Latin-1
_LONGEST_CELL: Final = 2**31 - 1


def read_pile(directory: Path) -> dict[int, Pick]:
    """The expert's decisions so far: input row to decision.

    Raises:
        InputError: the file is not UTF-8, or a cell of ``row`` or ``expert`` is invalid.
    """
    path = directory / PILE_NAME
    if not path.is_file():
        return {}
    csv.field_size_limit(_LONGEST_CELL)
    try:
        text = path.read_text(encoding=_ENCODING)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save it as CSV in UTF-8") from error
    header = text.partition("\n")[0]
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if header.count(";") > 1 else ",")
    if lines.fieldnames is None or not {"row", "expert"} <= set(lines.fieldnames):
        raise InputError(f"{path}: the columns row and expert, with which it was written, are missing")
    decisions: dict[int, Pick] = {}
    for line in lines:
        place = f"{path}, line {lines.line_num}"
        if not (line["row"] or "").isdecimal():
            raise InputError(f"{place}: row is {line['row']!r}; it must be the number of an input row")
        decision = expert_pick(line["expert"], place)
        if decision is not None:
            decisions[int(line["row"])] = decision
    return decisions


def write_pile(directory: Path, outcomes: Iterable[Outcome]) -> None:
    """Write every pair without a majority, with the expert's decision if there is one."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(_COLUMNS)
    for outcome in outcomes:
        if outcome.majority is None:
            pair = outcome.pair
            texts = (pair.prompt, pair.first, pair.second, pair.reference or "")
            lines.writerow((pair.index, outcome.expert or "", *map(_inert, texts)))
    commit_bytes(directory / PILE_NAME, text.getvalue().encode(_ENCODING))


def _inert(text: str) -> str:
    """The text, quoted if a spreadsheet would read it as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
