"""A decoder from a GGUF file."""

from __future__ import annotations

import importlib.util
import io
from contextlib import redirect_stderr
from pathlib import Path
from typing import Final

import torch
from torch import nn

from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.quiet import quiet_transformers
from asr_data.text.gguf import BUILTIN_INSTALL, parse_once

NEEDED: Final = ("gguf", "accelerate")
"""Packages of the extra ``builtin``; transformers reads a GGUF file with both."""


def load_gguf(path: Path) -> nn.Module:
    """The decoder of a GGUF file, dequantised to float32 on the CPU.

    Raises:
        MissingDependencyError: a package is missing.
        ScorerError: the file cannot be read.
    """
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "a GGUF backbone", BUILTIN_INSTALL)
    from transformers import AutoModel, GgufConfig

    # Its bar cannot be turned off, and a log is no place for it; what goes wrong is raised.
    with quiet_transformers(), parse_once(), redirect_stderr(io.StringIO()):
        try:
            model: nn.Module = AutoModel.from_pretrained(
                path.parent,
                gguf_file=path.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                trust_remote_code=False,
                local_files_only=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
            raise ScorerError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    model.hf_quantizer = None  # type: ignore[assignment] # dequantised: weights like any other's
    return model
