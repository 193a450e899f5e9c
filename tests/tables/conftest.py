"""Annotated directories of a rule's rewards, and the pipeline's bench."""

from tests.pipeline.conftest import bench, pairs, tokenizer
from tests.view.conftest import annotate, annotate_into

__all__ = ["annotate", "annotate_into", "bench", "pairs", "tokenizer"]
