"""Annotated directories for the tests of ``evaluate``: made by the pipeline's bench."""

from __future__ import annotations

from tests.pipeline.conftest import bench, pairs, tokenizer

__all__ = ["bench", "pairs", "tokenizer"]
