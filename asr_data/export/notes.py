"""What was changed or left out, row by row and in sum."""

from __future__ import annotations

import json
from collections import Counter
from typing import Final, TextIO

NOTE_CODES: Final = {
    "truncated": "cut to the longest length allowed",
    "first_token_masked": "there is no prompt, and nothing predicts the first token of a sequence",
}
"""Codes of examples that were changed."""

LEFT_OUT_CODES: Final = {
    "nothing_to_train_on": "no token is left to train on, after cutting to the longest length",
    "text_differs": "a stretch of text does not give the same tokens again",
    "not_preferred": "a response with a negative verdict, which this format cannot use",
}
"""Codes of responses that were left out; where one side of a pair is, the pair is."""


class Notes:
    """Writes one JSON line per note and counts them.

    Args:
        file: where the lines go.

    Attributes:
        added: code of ``NOTE_CODES`` to number of responses.
        left_out: code of ``LEFT_OUT_CODES`` to number of responses.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.added: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def add(self, row: int, side: str, code: str, *, pair: int | None = None, **details: int) -> None:
        """A response that was changed; ``pair``: which pair of the row it is in, where that is several."""
        self.added[code] += 1
        self._write(row, pair, side, code, details)

    def leave_out(self, row: int, side: str, code: str, *, pair: int | None = None) -> None:
        """A response that is not in the export."""
        self.left_out[code] += 1
        self._write(row, pair, side, code, {})

    def _write(self, row: int, pair: int | None, side: str, code: str, details: dict[str, int]) -> None:
        which = {"asr_row": row, **({} if pair is None else {"asr_pair": pair})}
        self._file.write(json.dumps({**which, "side": side, "code": code, **details}) + "\n")
