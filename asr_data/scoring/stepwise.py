"""Responses put to models that give one reward per step."""

from __future__ import annotations

from asr_data.scoring.config import PromptConfig, StepConfig
from asr_data.scoring.model_scorer import Reading
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Row


def encode_steps(row: Row, tokenizer: Tokenizer, prompt: PromptConfig, steps: StepConfig) -> list[Reading]:
    """One request per completion, read once per step; the spans are the steps."""
    raise NotImplementedError  # helper B writes this


def with_system(row: Row, system: str | None) -> Row:
    """The row with a system message in front, where its prompt has messages and none is the system's."""
    raise NotImplementedError  # helper B writes this
