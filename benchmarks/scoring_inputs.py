"""What ``benchmarks.scoring`` runs on: requests from a preference data set or a file, and decoders of a given shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from asr_data.scoring.engine import Request

SHAPES: dict[str, dict[str, int]] = {
    "0.5b": {
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2,
    },
    "1.5b": {
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
        "num_attention_heads": 12, "num_key_value_heads": 2,
    },
    "8b": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8,
    },
}  # fmt: skip
"""Of Qwen2.5-0.5B, Qwen2.5-1.5B and Llama-3-8B."""


def random_decoder(shape: str, device: str, dtype: torch.dtype) -> nn.Module:
    """A Llama of one of ``SHAPES`` with random weights."""
    from transformers import AutoModel, LlamaConfig

    config = LlamaConfig(vocab_size=49_152, max_position_embeddings=8192, **SHAPES[shape])
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModel.from_config(config, dtype=dtype).eval()  # type: ignore[no-any-return]


def requests_of(path: Path, rows: int, tokenizer: Any) -> list[Request]:
    """Every token of both sides of the first rows, in file order."""
    from asr_data.rows import detect, first_records, open_source, read_rows
    from asr_data.scoring.token_head import encode_tokens
    from asr_data.types import Row

    source = open_source(path)
    layout = detect(source.schema, first_records(source))
    read = [row for batch in read_rows(source, layout, rows, 0, rows) for row in batch if isinstance(row, Row)]
    return [request for row in read for reading in encode_tokens(row, tokenizer) for request in reading.requests]


def save_requests(path: Path, requests: list[Request]) -> None:
    """Write requests, for a machine that has torch and transformers and little else."""
    parts = {"ids": [r.ids for r in requests], "read": [r.read for r in requests]}
    arrays = {name: np.concatenate([np.asarray(x, np.int32) for x in lists]) for name, lists in parts.items()}
    lengths = {f"{name}_length": np.array([len(x) for x in lists]) for name, lists in parts.items()}
    np.savez_compressed(path, allow_pickle=False, **arrays, **lengths)


def load_requests(path: Path, rows: int) -> list[Request]:
    """The first pairs of what :func:`save_requests` wrote."""
    with np.load(path, allow_pickle=False) as file:
        ids, read = (
            np.split(file[name], np.cumsum(file[f"{name}_length"])[:-1])[: 2 * rows] for name in ("ids", "read")
        )
    return [Request(i.tolist(), r.tolist()) for i, r in zip(ids, read, strict=True)]


def branches(prompt: int, response: int, boundaries: int, count: int, seed: int = 0) -> Iterator[list[Request]]:
    """Responses whose every prefix is closed by an end of turn and read there."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        ids = rng.integers(1, 40_000, prompt + response).tolist()
        cuts = np.linspace(response / boundaries, response, boundaries).round().astype(int).tolist()
        yield [Request([*ids[: prompt + cut], 2], [prompt + cut]) for cut in cuts]
