"""Many texts cut at many places, without a Python object for each piece."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from asr_data.ragged import Ragged, offsets_of
from asr_data.types import Int64


def pieces(starts: pa.ChunkedArray[Any], texts: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    """Each text from each of its starts to the next one, the last piece to the end.

    Args:
        starts: lists of code points, which ascend; none is beyond its text's end.
        texts: one for each list.

    Returns:
        ``large_list<large_string>``, as long as ``starts``, row by row.
    """
    whole: Any = texts.cast(pa.large_string()).combine_chunks()
    begins = Ragged(starts.combine_chunks().cast(pa.list_(pa.int32())))
    place = _byte_positions(whole, begins)
    ends = _row_ends(whole)
    counts = begins.lengths
    # A piece before the first start keeps the pieces adjacent, as Arrow's offsets want them; it is dropped again.
    inserted = np.maximum.accumulate(
        np.insert(place, begins.offsets[:-1], ends[:-1])
    )  # never back, whatever starts say
    data = whole.buffers()[2] or pa.py_buffer(b"")
    offsets = pa.py_buffer(np.append(inserted, ends[-1]).astype(np.int64).tobytes())
    every = pa.LargeStringArray.from_buffers(len(inserted), offsets, data)
    kept = np.ones(len(inserted), dtype=bool)
    kept[offsets_of(counts + 1)[:-1]] = False
    return pa.LargeListArray.from_arrays(pa.array(offsets_of(counts), pa.int64()), every.filter(pa.array(kept)))


def segment_of_token(starts: pa.ChunkedArray[Any], tokens: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    """For each token of each response the number of the segment it is in, ``large_list<int32>``.

    Args:
        starts: lists of segment starts, the first of each 0.
        tokens: number of tokens of each response.
    """
    begins, lengths = Ragged(starts.combine_chunks().cast(pa.list_(pa.int32()))), tokens.to_numpy().astype(np.int64)
    bounds = offsets_of(lengths)
    sizes = np.diff(np.append(begins.values + np.repeat(bounds[:-1], begins.lengths), bounds[-1]))
    numbers = np.arange(len(begins.values)) - np.repeat(begins.offsets[:-1], begins.lengths)
    values = np.repeat(numbers, sizes).astype(np.int32)
    return pa.LargeListArray.from_arrays(pa.array(bounds, pa.int64()), pa.array(values, pa.int32()))


def _row_ends(texts: Any) -> Int64:
    """Byte offsets of the texts in their data, int64 ``[rows + 1]``."""
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64, count=len(texts) + 1 + texts.offset)
    return offsets[texts.offset :]


def _byte_positions(texts: Any, places: Ragged) -> Int64:
    """Where code points of texts lie in the texts' data."""
    ends = _row_ends(texts)
    before = np.repeat(ends[:-1], places.lengths)
    if pc.all(pc.equal(pc.binary_length(texts), pc.utf8_length(texts))).as_py() is not False:
        return before + places.values  # a byte for each code point
    data = np.frombuffer(texts.buffers()[2], dtype=np.uint8)[: ends[-1]]
    begins = np.flatnonzero((data & 0xC0) != 0x80)  # of every code point, in all texts
    first = np.searchsorted(begins, ends[:-1])
    position: Int64 = np.append(begins, ends[-1])[np.repeat(first, places.lengths) + places.values]
    return position
