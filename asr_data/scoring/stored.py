"""Tensors of safetensors files that are read when they are asked for.

transformers fills a model tensor by tensor and takes what it is given by ``tensor[...]``, so that a checkpoint is never
in memory twice, nor in a wider number format than the model's.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

_PIECE_BYTES: Final = 2**26
"""Tensors that are narrowed as they are read are read in pieces of this size."""
_BITS: Final = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16}
"""Number formats that weights are narrowed from, as safetensors names them."""
_BYTES: Final = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}


class StoredTensor:
    """One tensor of an open safetensors file.

    Read into memory of its own rather than mapped: what runs later does not depend on the file.

    Args:
        file: from ``safetensors.safe_open``; kept open.
        key: its name.
        dtype: the number format that the model will hold it in. Large tensors of a wider one are narrowed piece by
            piece; others are given as they are stored.
    """

    def __init__(self, file: Any, key: str, dtype: torch.dtype | None) -> None:
        self._file = file  # a slice does not keep it open
        self._key = key
        self._slice = file.get_slice(key)
        self._dtype = dtype
        self.shape = tuple(int(size) for size in self._slice.get_shape())

    def __getitem__(self, index: Any) -> Tensor:
        """The tensor, or a part of it."""
        part: Tensor
        if index is not ...:
            part = self._slice[index]
        elif self.nbytes > _PIECE_BYTES and self.shape and self._is_wider():
            part = self._narrowed()
        else:
            part = self._file.get_tensor(self._key)
        return part

    def _is_wider(self) -> bool:
        if self._dtype is None or not self._dtype.is_floating_point:
            return False
        return _BITS.get(self.get_dtype(), 0) > 8 * self._dtype.itemsize

    def _narrowed(self) -> Tensor:
        whole = torch.empty(self.shape, dtype=self._dtype)
        rows = max(1, _PIECE_BYTES * self.shape[0] // self.nbytes)
        for first in range(0, self.shape[0], rows):
            whole[first : first + rows] = self._slice[first : first + rows]
        return whole

    def get_dtype(self) -> str:
        """Its number format, as safetensors names it."""
        return str(self._slice.get_dtype())

    def get_shape(self) -> list[int]:
        """Its shape."""
        return list(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes as it is stored; of formats of less than a byte at most."""
        return self.numel() * _BYTES.get(self.get_dtype(), 1)

    def numel(self) -> int:
        """How many numbers it has."""
        return int(torch.Size(self.shape).numel())
