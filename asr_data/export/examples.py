"""What travels inside this package: responses as they were annotated, and sequences as trainers take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from asr_data.errors import CorruptFileError, InputError
from asr_data.export.notes import Notes
from asr_data.ragged import Ragged
from asr_data.rows import Layout, normalise, records_of
from asr_data.storage import AnnotatedDirectory
from asr_data.storage.row_keys import row_numbers
from asr_data.types import Bool, Float32, Int32, Int64, Side

Truncate: TypeAlias = Literal["end", "start"]
"""What goes where a sequence is too long: the end of the response, or the start of the prompt."""

IGNORED = -100
"""The label that every trainer takes for "not trained on"."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response of an annotated row.

    Attributes:
        row: ``asr_row``.
        side: its column.
        preferred: its verdict.
        prompt: int32 ``[prompt tokens]``.
        ids: int32 ``[tokens]``.
        mask: bool ``[tokens]``, true where a token is trained on: where its weight is above 0.
        weights: float32 ``[tokens]``, 0 where it is not trained on; None where the data has no weights.
        pair: ``asr_pair``; None where an input row is one row.
    """

    row: int
    side: Side
    preferred: bool
    prompt: Int32
    ids: Int32
    mask: Bool
    weights: Float32 | None = None
    pair: int | None = None


RowResponses: TypeAlias = tuple[Response, ...]
"""Chosen and rejected, or the one completion."""


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """Prompt and response as one sequence of the length allowed.

    Attributes:
        ids: int32 ``[time]``.
        mask: bool ``[time]``; false over the prompt and at the first token, which nothing predicts.
        weights: float32 ``[time]``, 0 where the mask is false.
    """

    ids: Int32
    mask: Bool
    weights: Float32

    @property
    def labels(self) -> Int64:
        """int64 ``[time]``, unshifted: the token where it is trained on, else −100."""
        return np.where(self.mask, self.ids, IGNORED).astype(np.int64)


class Cutter:
    """Joins prompt and response, and cuts what is too long; says so in the notes.

    Attributes:
        notes: where every change is noted.
        longest: tokens of the longest sequence given so far.
    """

    def __init__(self, notes: Notes, max_length: int | None, truncate: Truncate) -> None:
        self.notes = notes
        self.longest = 0
        self._max_length = max_length
        self._truncate = truncate

    def sequence(self, response: Response) -> TokenSequence | None:
        """The response after its prompt; None, and noted, where no token is left to train on."""
        sequence, removed = self.joined(response.prompt, response)
        if not sequence.mask.any():
            self.notes.leave_out(response.row, response.side, "nothing_to_train_on", pair=response.pair)
            return None
        self.longest = max(self.longest, len(sequence.ids))
        if removed:
            self.notes.add(response.row, response.side, "truncated", pair=response.pair, tokens=removed)
        if not len(response.prompt) and response.mask[0]:
            self.notes.add(response.row, response.side, "first_token_masked", pair=response.pair)
        return sequence

    def joined(self, prompt: Int32, response: Response) -> tuple[TokenSequence, int]:
        """The response after any prompt, and how many tokens were cut off; nothing is noted."""
        ids = np.concatenate((prompt, response.ids))
        own = response.mask.astype(np.float32) if response.weights is None else response.weights
        weights = np.concatenate((np.zeros(len(prompt), dtype=np.float32), own))
        removed = 0 if self._max_length is None else max(0, len(ids) - self._max_length)
        kept = slice(removed, None) if self._truncate == "start" else slice(None, len(ids) - removed)
        ids, weights = ids[kept], weights[kept]
        weights[0] = 0.0
        return TokenSequence(ids, weights > 0, weights), removed


def require_masks(annotated: AnnotatedDirectory) -> None:
    """Refuses a directory that was only scored.

    Raises:
        InputError: it has no masks yet.
    """
    if annotated.manifest.stage != "masked":
        raise InputError(f"{annotated.path} holds scores and no masks yet: asr-annotate mask {annotated.path} -o DIR")


def read_rows(annotated: AnnotatedDirectory, batch_rows: int = 1_000) -> Iterator[RowResponses]:
    """The annotated rows in input order, a batch at a time in memory.

    Raises:
        InputError: the directory has no masks yet.
        CorruptFileError: ids and masks that do not fit each other.
    """
    require_masks(annotated)
    manifest = annotated.manifest
    layout = manifest.plan.layout
    judged = list(manifest.input.column_types) if layout.kind == "unpaired" else []
    several = manifest.plan.several_pairs
    keys = [f"{manifest.prefix}{name}" for name in (("asr_row", "asr_pair") if several else ("asr_row",))]
    names = [f"{manifest.prefix}prompt_ids"]
    parts = ("ids", "mask", "weight") if manifest.has_weights else ("ids", "mask")
    names += [f"{manifest.prefix}{side}_{name}" for side in manifest.sides for name in parts]
    for batch in annotated.data_batches(batch_rows, [*judged, *keys, *names]):
        index = row_numbers(batch, manifest.prefix)
        lists = {name: _lists(annotated, batch.column(name), name) for name in names}
        verdicts = [True] * len(index)
        if judged:
            records = records_of(batch.select(judged))
            verdicts = [_verdict(row, record, layout) for (row, _), record in zip(index, records, strict=True)]
        for place, (row, pair) in enumerate(index):
            cells = {name.removeprefix(manifest.prefix): column[place] for name, column in lists.items()}
            responses = (_response(annotated, row, side, verdicts[place], cells) for side in manifest.sides)
            yield tuple(replace(response, pair=pair) for response in responses)


def _verdict(index: int, record: Mapping[str, Any], layout: Layout) -> bool:
    return normalise(index, record, layout).completions[0].preferred


def _lists(annotated: AnnotatedDirectory, column: Any, name: str) -> list[Any]:
    ragged = Ragged(column)
    if ragged.null.any():
        raise CorruptFileError(f"{annotated.path}: column {name!r} holds nulls; see asr-annotate validate")
    return ragged.arrays()


def _response(annotated: AnnotatedDirectory, row: int, side: Side, verdict: bool, cells: Mapping[str, Any]) -> Response:
    prompt, ids, mask = cells["prompt_ids"], cells[f"{side}_ids"], cells[f"{side}_mask"]
    if not len(ids) or len(ids) != len(mask):
        raise CorruptFileError(
            f"{annotated.path}: row {row} has {len(ids)} {side} tokens and {len(mask)} mask values; it must be "
            "one value per token; see asr-annotate validate"
        )
    if min(ids.min(), prompt.min(initial=0)) < 0:
        raise CorruptFileError(f"{annotated.path}: row {row} has a token id below 0; see asr-annotate validate")
    preferred = side == "chosen" or (side == "completion" and verdict)
    weights = cells.get(f"{side}_weight")
    if weights is None:
        return Response(row, side, preferred, prompt, ids, mask)
    fault = _weight_fault(weights, mask)
    if fault:
        raise CorruptFileError(f"{annotated.path}: row {row}, {side} weights: {fault}; see asr-annotate validate")
    return Response(row, side, preferred, prompt, ids, mask & (weights > 0), weights)


def _weight_fault(weights: Float32, mask: Bool) -> str | None:
    """What is wrong with a response's weights; None where nothing is."""
    if len(weights) != len(mask):
        return f"{len(weights)} entries for {len(mask)} tokens"
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        return f"{weights[wrong[0]]} at token {wrong[0]}; they are finite and at least 0"
    outside = np.flatnonzero(~mask & (weights > 0))
    if outside.size:
        return f"{weights[outside[0]]:g} at token {outside[0]}, where the mask is false; it must be 0 there"
    return "0 at every token, and the mask keeps some" if mask.any() and not weights.any() else None
