from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, RowRejected, ScorerError
from asr_data.scoring.config import ImplicitConfig
from asr_data.scoring.contexts import Contexts
from asr_data.scoring.contrast import ContrastEncoder
from asr_data.scoring.load import load_scorer, load_scorer_tokenizer
from asr_data.scoring.model_scorer import Reading
from asr_data.text import align, check_rewards, project
from asr_data.types import ByteRewards, Completion, Row, Text

MakeCheckpoint = Callable[..., Path]
FP32 = ScoringConfig(dtype="float32", device="cpu")
USER = [{"role": "user", "content": "How much is 2 + 2?"}]


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def row(prompt: Text, answer: Text) -> Row:
    return Row(0, {}, prompt, (Completion("completion", answer, preferred=True),))


class Doubling:
    """Log-ratios by hand: the first token asked for has 1, the next 2, then 4, 8 …"""

    def __init__(self, tokenizer: Any, **settings: Any) -> None:
        contexts = Contexts(("prompt",), "both", conversations=True)
        self.encoder = ContrastEncoder(tokenizer, ImplicitConfig(**settings), contexts, (0, 1))
        self.tokenizer = tokenizer
        self.asked: list[str] = []

    def __call__(self, asked: Row) -> ByteRewards:
        (reading,) = self.encoder.encode(asked)
        request, second = reading.requests
        assert (request.ids, request.read, request.target) == (second.ids, second.read, second.target)
        assert (request.model, second.model) == (0, 1)
        assert request.target is not None
        assert [request.ids[t + 1] for t in request.read] == request.target
        self.asked = self.tokenizer.hf.convert_ids_to_tokens(request.target)
        policy = 2.0 ** np.arange(len(request.read)) + 1
        reference = np.ones(len(request.read))
        return self.encoder.rewards(reading, np.concatenate([policy, reference]).astype(np.float32))


# --- increments ------------------------------------------------------------------------------------------


def test_increments_by_hand(make_tokenizer: Callable[..., Any]) -> None:
    scorer = Doubling(make_tokenizer())
    answer = scorer(row(USER, says("x8z")))
    assert scorer.asked == ["x", "8", "z", "<|im_end|>", "Ċ"]
    assert answer.span_end.tolist() == [1, 2, 3]
    assert answer.span_reward.tolist() == [1, 2, 4]
    assert answer.step_end.tolist() == []
    assert answer.reward == 1 + 2 + 4 + 8 + 16  # what closes the turn has no bytes, and counts


def test_strings_are_closed_with_eos(make_tokenizer: Callable[..., Any]) -> None:
    scorer = Doubling(make_tokenizer())
    answer = scorer(row("2 + 2 = \n", "x8"))
    assert scorer.asked == ["x", "8", "<|im_end|>"]
    assert answer.span_reward.tolist() == [1, 2]
    assert answer.reward == 7


def test_bytes_that_the_template_trims_add_nothing(make_tokenizer: Callable[..., Any]) -> None:
    answer = Doubling(make_tokenizer(template="trimming"))(row(USER, says("  x8\n")))
    assert answer.span_end.tolist() == [2, 3, 4, 5]
    assert answer.span_reward.tolist() == [0, 1, 2, 0]


def test_what_the_template_puts_before_a_response_counts_with_its_first_token(
    make_tokenizer: Callable[..., Any],
) -> None:
    scorer = Doubling(make_tokenizer(template="thinking"))
    answer = scorer(row(USER, says("x8")))
    before = scorer.asked.index("x")
    assert before > 0
    assert answer.span_end.tolist() == [1, 2]
    assert answer.span_reward.tolist() == [2 ** (before + 1) - 1, 2 ** (before + 1)]


def test_turns_of_others_are_not_counted(make_tokenizer: Callable[..., Any]) -> None:
    completion = [*says("x8"), {"role": "user", "content": "and?"}, *says("z")]
    scorer = Doubling(make_tokenizer())
    answer = scorer(row(USER, completion))
    assert scorer.asked == ["x", "8", "<|im_end|>", "z", "<|im_end|>", "Ċ"]
    assert answer.span_end.tolist() == [1, 2, 3]
    assert answer.span_reward.tolist() == [1, 2, 8]
    assert answer.reward == 63


@pytest.mark.parametrize("text", ["The answer is four.", "Café 👩\u200d👧 二\n\n", "e\u0301 \n x", " ", "Wie spät?  "])
def test_increments_survive_projection_to_the_same_tokens(any_tokenizer: Any, text: str) -> None:
    asked = row(USER, says(text))
    scorer = Doubling(any_tokenizer)
    try:
        answer = scorer(asked)
    except RowRejected:
        with pytest.raises(RowRejected):
            align(asked, any_tokenizer)
        return
    check_rewards(answer, len(text.encode()))
    (response,) = align(asked, any_tokenizer).responses
    tokens = project(answer, response.start, response.end, "increment")
    closing = response.closing[response.written]
    increments = np.where(closing, 0, 2.0 ** np.arange(len(closing)))
    np.testing.assert_allclose(tokens[response.written], increments, rtol=1e-6)
    assert answer.reward == pytest.approx(2.0 ** len(closing) - 1)


# --- sums ------------------------------------------------------------------------------------------------


def test_values_are_sums_from_the_start(make_tokenizer: Callable[..., Any]) -> None:
    answer = Doubling(make_tokenizer(), form="value")(row(USER, says("x8z")))
    assert answer.span_end.tolist() == [0, 1, 2, 3]
    assert answer.span_reward.tolist() == [0, 1, 3, 7]
    assert answer.reward == 31


def test_values_count_a_turn_that_was_closed(make_tokenizer: Callable[..., Any]) -> None:
    completion = [*says("x8"), {"role": "user", "content": "and?"}, *says("z")]
    answer = Doubling(make_tokenizer(), form="value")(row(USER, completion))
    assert answer.span_reward.tolist() == [0, 1, 3, 15]


def test_values_of_bytes_that_the_template_trims(make_tokenizer: Callable[..., Any]) -> None:
    answer = Doubling(make_tokenizer(template="trimming"), form="value")(row(USER, says("  x8\n")))
    assert answer.span_end.tolist() == [0, 2, 3, 4, 5]
    assert answer.span_reward.tolist() == [0, 0, 1, 3, 3]


def test_sums_at_the_ends_of_steps(make_tokenizer: Callable[..., Any]) -> None:
    scorer = Doubling(make_tokenizer(), form="value", steps={"split": "\n"})
    answer = scorer(row(USER, says("x8\nz\n\n9")))
    assert scorer.asked[:2] == ["x", "8"]
    last = scorer.asked.index("z")
    assert answer.span_end.tolist() == [0, 3, 6, 7]
    assert answer.step_end.tolist() == [3, 6, 7]
    assert answer.span_reward.tolist() == [0, 3, 2 ** (last + 1) - 1, 2 ** len(scorer.asked) - 1]
    assert answer.reward == answer.span_reward[-1]


def test_a_single_step(make_tokenizer: Callable[..., Any]) -> None:
    answer = Doubling(make_tokenizer(), form="value", steps={})(row(USER, says("x8")))
    assert answer.span_end.tolist() == [0, 2]
    assert answer.span_reward.tolist() == [0, 15]
    assert answer.step_end.tolist() == [2]


def test_steps_of_several_messages(make_tokenizer: Callable[..., Any]) -> None:
    completion = [*says("x8"), {"role": "user", "content": "and\nso?"}, *says("z\n9")]
    scorer = Doubling(make_tokenizer(), form="value", steps={"split": "\n"})
    answer = scorer(row(USER, completion))
    assert scorer.asked == ["x", "8", "<|im_end|>", "z", "Ċ", "9", "<|im_end|>", "Ċ"]
    assert answer.step_end.tolist() == [2, 4, 5]
    assert answer.span_reward.tolist() == [0, 3, 15, 255]


def test_white_space_at_the_end_of_a_step_is_not_read(make_tokenizer: Callable[..., Any]) -> None:
    scorer = Doubling(make_tokenizer(), form="value", steps={"split": "\n", "empty": "keep"})
    answer = scorer(row(USER, says("x8 \nz")))
    assert scorer.asked[:3] == ["x", "8", "Ġ"]
    assert answer.span_reward[1] == 3


def test_steps_that_are_empty(make_tokenizer: Callable[..., Any]) -> None:
    steps = {"split": "\n", "empty": "keep"}
    scorer = Doubling(make_tokenizer(), form="value", steps=steps)
    answer = scorer(row(USER, says("\nx\n\n8")))
    assert answer.step_end.tolist() == [1, 3, 4, 5]
    assert answer.span_reward[1] == 0  # before the first token
    assert answer.span_reward.tolist() == sorted(answer.span_reward.tolist())
    check_rewards(answer, 5)


# --- rows and settings that do not fit -------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"form": "value", "steps": {}}])
def test_nothing_written(settings: dict[str, Any], make_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(RowRejected, match="no token of the response") as error:
        Doubling(make_tokenizer(), **settings)(row(USER, says("")))
    assert error.value.code == "tokens_uncovered"


def test_a_prompt_without_tokens(make_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(RowRejected) as error:
        Doubling(make_tokenizer())(row("", "Four."))
    assert error.value.code == "empty_prompt"


def test_a_reading_of_another_kind(make_tokenizer: Callable[..., Any]) -> None:
    encoder = Doubling(make_tokenizer()).encoder
    with pytest.raises(TypeError, match="ContrastEncoder"):
        encoder.rewards(Reading((), np.zeros(0, np.int32), np.zeros(0, np.int32)), np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": {}}, "form 'value'"),
        ({"form": "value", "steps": {"separator": "<sep>", "read": "separator"}}, "only split and empty"),
        ({"form": "value", "steps": {"back": 1}}, "only split and empty"),
        ({"prompt": {"template": "{prompt}"}}, "no prompt template"),
        ({"prompt": {"special": "none"}}, "no other specials"),
        ({"beta": 0}, "ImplicitConfig.beta is 0: expected a finite number > 0"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImplicitConfig(**settings)


@pytest.fixture
def make_pair(tmp_path: Path, make_checkpoint: MakeCheckpoint, make_tokenizer: Callable[..., Any]) -> Any:
    """``make_pair(kind)``: a policy with a byte-level tokenizer, a reference with one of ``kind``."""

    def make(kind: str = "byte_level") -> tuple[Path, Path]:
        for name, of in (("policy", "byte_level"), ("reference", kind)):
            weight = torch.randn(len(make_tokenizer(of).hf), 32, generator=torch.Generator().manual_seed(len(name)))
            make_checkpoint(tmp_path / name, {"lm_head.weight": weight}, kind=of)
        return tmp_path / "policy", tmp_path / "reference"

    return make


def test_both_models_must_have_the_same_tokens(make_pair: Any) -> None:
    policy, reference = make_pair("word_piece")
    with pytest.raises(ScorerError, match=r"policy has \d+ tokens and its reference \d+: they must share a vocabulary"):
        load_scorer(policy, preset="dpo-pair", reference=reference, scoring=FP32)


def test_both_models_must_number_them_alike(make_pair: Any) -> None:
    policy, reference = make_pair()
    text = (reference / "tokenizer.json").read_text(encoding="utf-8")
    swapped = text.replace('"X":', '"hold":').replace('"Y":', '"X":').replace('"hold":', '"Y":')
    assert swapped != text
    (reference / "tokenizer.json").write_text(swapped, encoding="utf-8")
    with pytest.raises(ScorerError, match=r"different tokenizers: '[XY]' is \d+ in one and \d+ in the other"):
        load_scorer(policy, preset="dpo-pair", reference=reference, scoring=FP32)


def test_a_reference_without_a_tokenizer(make_pair: Any) -> None:
    policy, reference = make_pair()
    (reference / "tokenizer.json").unlink()
    scorer = load_scorer(policy, preset="dpo-pair", reference=reference, scoring=FP32)
    assert scorer.info.form == "increment"


def test_a_model_is_no_better_than_itself(make_pair: Any, tmp_path: Path) -> None:
    policy, _ = make_pair()
    shutil.copytree(policy, tmp_path / "copy")
    (entry,) = load_scorer(policy, preset="dpo-pair", reference=tmp_path / "copy", scoring=FP32).score(
        [row(USER, says("It is four."))]
    )
    assert isinstance(entry, tuple)
    assert entry[0].span_reward.tolist() == [0] * len(entry[0].span_end)
    assert entry[0].reward == 0


def test_a_reference_is_needed(make_pair: Any) -> None:
    policy, _ = make_pair()
    with pytest.raises(ConfigError, match="give it as the reference"):
        load_scorer(policy, preset="dpo-pair", scoring=FP32)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft on transformers 5
def test_an_adapter_of_a_language_model_is_a_policy_and_its_base_the_reference(make_pair: Any, tmp_path: Path) -> None:
    """What a DPO training with LoRA leaves: a directory with an adapter and nothing else."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    _, base = make_pair()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=2, task_type="CAUSAL_LM", init_lora_weights=False))
    adapted.save_pretrained(str(tmp_path / "adapter"))
    scorer = load_scorer(tmp_path / "adapter", preset="dpo-pair", scoring=FP32)
    row = Row(0, {}, "Why? ", (Completion("completion", "Because.", True),))
    [(rewards,)] = scorer.score([row])  # type: ignore[misc] # it is not rejected

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    policy = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(tmp_path / "adapter")
    )
    hf = scorer.tokenizer.hf  # type: ignore[union-attr] # it has one
    ids = torch.tensor([hf.encode("Why? Because.<|im_end|>", add_special_tokens=False)])
    first = len(hf.encode("Why? ", add_special_tokens=False))

    def log_probability(lm: Any) -> float:
        with torch.inference_mode():
            logs = lm(input_ids=ids).logits[0].log_softmax(dim=-1)
        return float(sum(logs[t - 1, ids[0, t]] for t in range(first, ids.shape[1])))

    assert rewards.reward == pytest.approx(0.1 * (log_probability(policy) - log_probability(plain)), abs=1e-5)
    assert abs(rewards.reward) > 1e-3
    # Masks are redone, and measured, with the tokenizer that the name in the manifest leads to.
    assert load_scorer_tokenizer(str(tmp_path / "adapter")).fingerprint == scorer.tokenizer.fingerprint  # type: ignore[union-attr] # it has one
