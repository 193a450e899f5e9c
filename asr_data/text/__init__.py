"""From texts to tokens and back: templates, byte spans, and rewards carried between tokenizers."""

from asr_data.response import response_text
from asr_data.text.align import AlignedResponse, AlignedRow, align
from asr_data.text.project import check_rewards, initial_value, project
from asr_data.text.tokenizer import Tokenizer, load_tokenizer

__all__ = [
    "Tokenizer",
    "load_tokenizer",
    "AlignedResponse",
    "AlignedRow",
    "align",
    "response_text",
    "check_rewards",
    "initial_value",
    "project",
]
