"""Where a sequence head is asked: prefixes, closings and positions, by hand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from asr_data.errors import ConfigError, RowRejected, ScorerError
from asr_data.scoring.config import HeadConfig, SequenceHeadConfig
from asr_data.scoring.load import _normalized
from asr_data.scoring.model_scorer import Reading
from asr_data.scoring.sequence_head import SequenceHeadEncoder, SequenceHeadReadout
from asr_data.types import Completion, Row, Text

USER = [{"role": "user", "content": "Hi"}]
TEXT = "One is. Two, is.\nThree"


def reading(tokenizer: Any, text: Text = TEXT, prompt: Text = USER, **settings: Any) -> Reading:
    content = [{"role": "assistant", "content": text}] if isinstance(prompt, list) and isinstance(text, str) else text
    row = Row(0, {}, prompt, (Completion("completion", content, True),))
    [found] = SequenceHeadEncoder(tokenizer, SequenceHeadConfig(**settings)).encode(row)
    return found


@pytest.mark.parametrize(
    ("boundary", "ends"),
    [
        ("line", [0, 17, 22]),
        ("sentence", [0, 7, 17, 22]),
        ("clause", [0, 7, 12, 17, 22]),
        ("word", [0, 3, 7, 12, 17, 22]),
    ],
)
def test_prefixes_end_at_boundaries(boundary: Any, ends: list[int], make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer()
    found = reading(tokenizer, boundary=boundary)
    assert found.span_end.tolist() == ends
    assert found.step_end.tolist() == ends[1:]
    assert len(found.requests) == len(ends)
    for end, request in zip(ends, found.requests, strict=True):
        shown = tokenizer.hf.decode(request.ids)
        assert shown == f"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n{TEXT[:end]}<|im_end|>\n"
        assert request.read == [len(request.ids) - 1]


def test_prefixes_of_a_number_of_tokens(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer()
    tokens = len(tokenizer.hf.encode(TEXT, add_special_tokens=False))
    found = reading(tokenizer, boundary=3)
    assert len(found.span_end) == 1 + -(-tokens // 3)
    assert found.span_end[-1] == 22


def test_strings_are_closed_with_eos(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer()
    found = reading(tokenizer, "One. B", "Q: ", boundary="sentence")
    assert [tokenizer.hf.decode(r.ids) for r in found.requests] == [
        "Q: <|im_end|>",
        "Q: One. <|im_end|>",
        "Q: One. B<|im_end|>",
    ]
    before = reading(tokenizer, "One. B", "Q: ", boundary="sentence", pooled="before_eos")
    assert [r.read for r in before.requests] == [[len(r.ids) - 2] for r in found.requests]


def test_reading_in_mid_response(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer()
    every = reading(tokenizer, read="every")
    ids = every.requests[0].ids
    prompt = len(ids) - len(tokenizer.hf.encode(TEXT + "<|im_end|>\n", add_special_tokens=False))
    assert every.requests[0].read == list(range(prompt - 1, len(ids) - 2))
    assert every.requests[1].ids == ids
    assert every.requests[1].read == [len(ids) - 1]
    ends = reading(tokenizer, read="segment_end", boundary="sentence")
    assert ends.span_end.tolist() == [0, 7, 17, 22]
    assert ends.requests[0].read[0] == prompt - 1
    assert ends.requests[0].read[-1] == len(ids) - 3


def test_messages_of_others_are_part_of_the_prefix(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer()
    completion = [
        {"role": "assistant", "content": "Call."},
        {"role": "tool", "content": "4. 5."},
        {"role": "assistant", "content": "Four."},
    ]
    found = reading(tokenizer, completion)
    assert found.span_end.tolist() == [0, 5, 10]
    assert tokenizer.hf.decode(found.requests[1].ids).endswith("assistant\nCall.<|im_end|>\n")
    assert tokenizer.hf.decode(found.requests[2].ids).endswith(
        "4. 5.<|im_end|>\n<|im_start|>assistant\nFour.<|im_end|>\n"
    )


def test_nothing_written(make_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(RowRejected) as caught:
        reading(make_tokenizer("byte_level", "trimming"), "  ")
    assert caught.value.code == "tokens_uncovered"


def test_values_become_rewards(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer()
    encoder = SequenceHeadEncoder(tokenizer, SequenceHeadConfig())
    found = reading(tokenizer)
    rewards = encoder.rewards(found, np.array([0.5, 1.0, 2.0, 3.0], dtype=np.float32))
    assert rewards.span_reward.tolist() == [0.5, 1.0, 2.0, 3.0]
    assert rewards.reward == 3.0
    every = SequenceHeadEncoder(tokenizer, SequenceHeadConfig(read="segment_end"))
    rewards = every.rewards(reading(tokenizer, read="segment_end"), np.array([0, 1, 2, 3, 9], dtype=np.float32))
    assert rewards.span_reward.tolist() == [0, 1, 2, 3]
    assert rewards.reward == 9


def test_the_readout() -> None:
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    readout = SequenceHeadReadout(head, SequenceHeadConfig(head=HeadConfig(labels=2), index=1, mean=1.0, std=0.5))
    with torch.no_grad():
        assert readout(torch.tensor([[3.0, 4.0]])).tolist() == [14.0]


@pytest.mark.parametrize(
    "settings", [{"index": 1}, {"std": 0.0}, {"boundary": 0}, {"prompt": {"template": "{prompt}"}}, {"read": "last"}]
)
def test_wrong_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SequenceHeadConfig(**settings)


def test_a_wrong_deviation_of_a_checkpoint_is_said() -> None:
    decoder: Any = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(std=0.0)), checkpoint="there")
    with pytest.raises(ScorerError, match=r"config\.json in there: SequenceHeadConfig\.std is 0\.0: expected a finite"):
        _normalized(SequenceHeadConfig(std="config"), decoder)
