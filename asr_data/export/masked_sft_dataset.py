"""A data set for verl's SFT trainer: tokens and loss mask as ``asr-annotate export --to verl-sft`` wrote them.

A file of its own, copied beside the data: it imports nothing of asr-data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from datasets import load_dataset
from torch import Tensor
from torch.utils.data import Dataset


class MaskedSFTDataset(Dataset[dict[str, Tensor]]):
    """Rows with ``input_ids`` and ``loss_mask``, for ``data.custom_cls`` and ``data.pad_mode=no_padding``.

    Args:
        parquet_files: path or paths.
        tokenizer: not used; the rows are tokenised.
        config: verl's ``data`` section.
        processor: not used.
        max_samples: number of rows to take from the start; -1 for all.
    """

    def __init__(
        self,
        parquet_files: str | Iterable[str],
        tokenizer: Any,  # noqa: ARG002 - verl passes it
        config: Any,
        processor: Any = None,  # noqa: ARG002 - verl passes it
        max_samples: int = -1,
    ) -> None:
        if config.get("pad_mode", "no_padding") != "no_padding":
            raise ValueError("MaskedSFTDataset needs data.pad_mode=no_padding")
        files = [parquet_files] if isinstance(parquet_files, str) else list(parquet_files)
        self._rows = load_dataset("parquet", data_files=files, split="train")
        if 0 < max_samples < len(self._rows):
            self._rows = self._rows.select(range(max_samples))
        self._max_length = config.get("max_length")

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """``input_ids``, ``position_ids`` and ``loss_mask``, int64 ``[time]``; the mask is unshifted.

        A mask of weights is float32.

        Raises:
            ValueError: a row longer than ``data.max_length``.
        """
        row = self._rows[index]
        ids = torch.tensor(row["input_ids"])
        if self._max_length is not None and len(ids) > self._max_length:
            raise ValueError(f"row {index} has {len(ids)} tokens; data.max_length is {self._max_length}")
        return {
            "input_ids": ids,
            "position_ids": torch.arange(len(ids)),
            "loss_mask": torch.tensor(row["loss_mask"]),
        }
