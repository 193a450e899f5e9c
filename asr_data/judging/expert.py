"""``undecided.csv``: the pairs that the judges could not decide, for an expert to fill in."""

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
_ENCODING: Final = "utf-8-sig"  # spreadsheets take a file without the mark for Latin-1
_LONGEST_CELL: Final = 2**31 - 1


def read_pile(directory: Path) -> dict[int, Pick]:
    """What an expert has filled in so far: input row to decision.

    Raises:
        InputError: the file is not UTF-8, or a cell of ``row`` or ``expert`` is not what it must be.
    """
    path = directory / PILE_NAME
    if not path.is_file():
        return {}
    csv.field_size_limit(_LONGEST_CELL)
    try:
        text = path.read_text(encoding=_ENCODING)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8; save it as CSV in UTF-8") from error
    header = text.partition("\n")[0]
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if header.count(";") > 1 else ",")
    if lines.fieldnames is None or not {"row", "expert"} <= set(lines.fieldnames):
        raise InputError(f"{path}: must have the columns row and expert, as it was written")
    decisions: dict[int, Pick] = {}
    for line in lines:
        place = f"{path}, line {lines.line_num}"
        if not (line["row"] or "").isdecimal():
            raise InputError(f"{place}: row is {line['row']!r}, not the number of a row")
        decision = expert_pick(line["expert"], place)
        if decision is not None:
            decisions[int(line["row"])] = decision
    return decisions


def write_pile(directory: Path, outcomes: Iterable[Outcome]) -> None:
    """Writes every pair without a majority, with the expert's decision where there is one already."""
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
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
