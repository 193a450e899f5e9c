from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.config import LabelTokenConfig
from asr_data.scoring.label_tokens import LabelTokenReadout, label_id
from asr_data.scoring.load import load_scorer
from asr_data.types import Completion, RejectedRow, Row

MakeCheckpoint = Callable[..., Path]
FP32 = ScoringConfig(dtype="float32", device="cpu")


class LogsAsGiven(torch.nn.Module):
    """A head whose logits are the hidden states' logarithms."""

    rows = 2

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        assert len(hidden) <= self.rows
        return hidden.log()


@pytest.mark.parametrize(
    ("labels", "pair", "wanted"),
    [
        ((1, 3), True, [0.75, 0.5, 0.2]),
        ((3, 1), True, [0.25, 0.5, 0.8]),
        ((1, 3), False, [0.3, 0.125, 0.1]),
    ],
)
def test_probabilities_by_hand(labels: tuple[int, int], pair: bool, wanted: list[float]) -> None:
    hidden = torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 1.0, 2.0, 1.0], [1.0, 0.2, 0.0, 0.8]])  # sums 10, 8 and 2
    readout = LabelTokenReadout(LogsAsGiven(), *labels, pair=pair)  # type: ignore[arg-type] # a stand-in
    assert readout(hidden).tolist() == pytest.approx(wanted, abs=1e-6)


def test_no_positions() -> None:
    readout = LabelTokenReadout(LogsAsGiven(), 0, 1, pair=True)  # type: ignore[arg-type] # a stand-in
    assert readout(torch.zeros(0, 4)).tolist() == []


# --- labels ----------------------------------------------------------------------------------------------


def test_a_label_is_one_token(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer("byte_level")
    assert tokenizer.hf.convert_ids_to_tokens(label_id(tokenizer, "+", None, 400)) == "+"
    assert label_id(tokenizer, "<sep>", None, 400) == 3
    assert label_id(tokenizer, "of several tokens", 7, 400) == 7


@pytest.mark.parametrize("text", ["+-", "", "good one"])
def test_a_label_of_several_tokens_or_none(text: str, make_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(ScorerError, match=r"must be one token of tokenizer 'byte_level', not \[.*the id in good_id"):
        label_id(make_tokenizer("byte_level"), text, None, 400)


def test_a_label_that_the_tokenizer_does_not_know(make_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(ScorerError, match=r"label '☃' is no token: .* has no token for '☃'"):
        label_id(make_tokenizer("word_piece"), "☃", None, 400)


def test_an_id_that_the_model_does_not_have(make_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(ScorerError, match="label id 400 is not one of the model's 400 tokens"):
        label_id(make_tokenizer("byte_level"), "+", 400, 400)


# --- the whole scorer ------------------------------------------------------------------------------------


@pytest.fixture
def load(tmp_path: Path, make_checkpoint: MakeCheckpoint, make_tokenizer: Callable[..., Any]) -> Callable[..., Any]:
    weight = torch.randn(len(make_tokenizer().hf), 32, generator=torch.Generator().manual_seed(0))
    make_checkpoint(tmp_path, {"lm_head.weight": weight})

    def of(**settings: Any) -> Any:
        steps = {"separator": "<sep>", "read": "separator"}
        return load_scorer(tmp_path, config=LabelTokenConfig(**{"steps": steps, **settings}), scoring=FP32)

    return of


def rewards(scorer: Any, *before: dict[str, str]) -> list[float]:
    prompt = [*before, {"role": "user", "content": "2 + 2?"}]
    response = [{"role": "assistant", "content": "It is.\n\nFour."}]
    (entry,) = scorer.score([Row(0, {}, prompt, (Completion("completion", response, preferred=True),))])
    assert not isinstance(entry, RejectedRow)
    assert entry[0].span_end.tolist() == entry[0].step_end.tolist() == [8, 13]
    return list(entry[0].span_reward.tolist())


def test_labels_change_places(load: Callable[..., Any]) -> None:
    there, back = rewards(load(good="+", bad="-")), rewards(load(good="-", bad="+"))
    assert [a + b for a, b in zip(there, back, strict=True)] == pytest.approx([1, 1], abs=1e-6)
    assert abs(there[0] - there[1]) > 1e-3


def test_the_whole_vocabulary_leaves_less_to_either(load: Callable[..., Any]) -> None:
    pair = rewards(load())
    good, bad = rewards(load(vocabulary="full")), rewards(load(vocabulary="full", good="-", bad="+"))
    for p, g, b in zip(pair, good, bad, strict=True):
        assert 0 < g + b < 0.5
        assert g / (g + b) == pytest.approx(p, abs=1e-5)


def test_a_system_message_is_put_first(load: Callable[..., Any]) -> None:
    added = rewards(load(prompt={"system": "Be brief."}))
    assert added == pytest.approx(rewards(load(), {"role": "system", "content": "Be brief."}), abs=1e-6)
    assert added != pytest.approx(rewards(load()), abs=1e-3)


def test_ids_stand_in_for_texts(load: Callable[..., Any], make_tokenizer: Callable[..., Any]) -> None:
    plus, minus = make_tokenizer().hf.convert_tokens_to_ids(["+", "-"])
    by_id = load(good="no token at all", bad="neither", good_id=plus, bad_id=minus)
    assert rewards(by_id) == rewards(load(good="+", bad="-"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"good": "++", "bad": "-"}, r"label '\+\+' must be one token"),
        ({"good": "+", "bad": "no way"}, "label 'no way' must be one token"),
        ({"good": "+", "bad": "+"}, "the good and the bad label are the same token"),
        ({"good_id": 100_000}, "label id 100000 is not one of"),
        ({"steps": {"separator": "so far", "read": "separator"}}, "separator 'so far' is"),
    ],
)
def test_settings_that_do_not_fit_the_tokenizer(
    settings: dict[str, Any], message: str, load: Callable[..., Any]
) -> None:
    with pytest.raises(ScorerError, match=message):
        load(**settings)


def test_steps_are_needed() -> None:
    with pytest.raises(ConfigError, match="steps"):
        LabelTokenConfig()  # type: ignore[call-arg] # on purpose
