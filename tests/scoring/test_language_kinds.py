"""Kinds that read a language model's log-probabilities, against plain transformers and one sequence at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, InputError, RowRejected
from asr_data.scoring.answer_value import AnswerValueEncoder
from asr_data.scoring.config import AnswerValueConfig, ContrastConfig, ImplicitConfig, LogProbabilityConfig
from asr_data.scoring.contexts import Contexts
from asr_data.scoring.load import load_scorer
from asr_data.scoring.tree import grow_trees
from asr_data.text import align
from asr_data.types import ByteRewards, Completion, RejectedRow, Row, Text

FP32 = ScoringConfig(dtype="float32", device="cpu")
SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "2 + 2?"},
]
GOOD, BAD = "It is four.", "It is five. Yes, five.\nSo be it."


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def pair(index: int = 0, prompt: Text = ({"role": "user", "content": "2 + 2?"},), **columns: Any) -> Row:
    text = isinstance(prompt, str)
    sides = [(GOOD, True), (BAD, False)]
    completions = [
        Completion("chosen" if best else "rejected", content if text else says(content), best)  # type: ignore[arg-type] # either kind
        for content, best in sides
    ]
    return Row(index, columns, prompt if text else list(prompt), tuple(completions))


def own(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def models(tmp_path: Path, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]) -> Any:
    """Two language models that differ in their heads."""
    paths = []
    for seed in (1, 2):
        head = torch.randn(len(make_tokenizer().hf), 32, generator=torch.Generator().manual_seed(seed))
        paths.append(make_checkpoint(tmp_path / f"model{seed}", {"lm_head.weight": head}))
    return paths


class Plain:
    """One sequence at a time, with nothing of ours."""

    def __init__(self, directory: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.lm = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        self.hf = AutoTokenizer.from_pretrained(directory)

    def ids(self, text: str) -> list[int]:
        return list(self.hf.encode(text, add_special_tokens=False))

    def log_probabilities(self, before: Sequence[int], after: Sequence[int]) -> Any:
        """``log p`` of each token of ``after``, float64."""
        ids = torch.tensor([[*before, *after]])
        with torch.inference_mode():
            logs = self.lm(input_ids=ids).logits[0].double().log_softmax(dim=-1)
        first = len(before)
        return np.array([float(logs[t - 1, ids[0, t]]) for t in range(first, ids.shape[1])])

    def prompt(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """ChatML, written by hand."""
        text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        return self.ids(text + "<|im_start|>assistant\n")

    def response(self, messages: Sequence[dict[str, str]], text: str) -> Any:
        """``log p`` of the tokens of a response, what closes its turn included."""
        return self.log_probabilities(self.prompt(messages), self.ids(f"{text}<|im_end|>\n"))


def known(scored: Any, side: int = 1) -> ByteRewards:
    assert isinstance(scored, tuple), scored
    assert not np.isnan(scored[side].span_reward).any()
    return scored[side]  # type: ignore[no-any-return] # checked above


def is_unknown(scored: Any, side: int) -> bool:
    return bool(np.isnan(scored[side].span_reward).all()) and scored[side].reward is None


def replaced(messages: Sequence[dict[str, str]], content: str) -> list[dict[str, str]]:
    return [*messages[:-1], {**messages[-1], "content": content}]


@pytest.mark.parametrize("prompt", [pair().prompt, [SYSTEM, *TURNS]], ids=["one turn", "system and several turns"])
def test_contrast_of_two_contexts(prompt: Any, models: Any) -> None:
    config = ContrastConfig(context=own("{{ prompt }} ({{ other }})"), against=own("{{ prompt }}!"), beta=0.5)  # type: ignore[arg-type] # as in a file
    scorer = load_scorer(models[0], config=config, scoring=FP32)
    [scored] = scorer.score([pair(prompt=prompt)])
    plain = Plain(models[0])
    for side, (text, other) in enumerate([(GOOD, BAD), (BAD, GOOD)]):
        question = prompt[-1]["content"]
        shown = plain.response(replaced(prompt, f"{question} ({other})"), text)
        ratios = 0.5 * (shown - plain.response(replaced(prompt, f"{question}!"), text))
        found = known(scored, side)
        np.testing.assert_allclose(found.span_reward, ratios[: len(found.span_reward)], atol=1e-5)
        assert found.reward == pytest.approx(ratios.sum(), abs=1e-5)
        assert len(ratios) == len(found.span_reward) + 2  # what closes the turn
        assert np.abs(ratios).max() > 1e-2


def test_contrast_of_two_models_and_two_contexts(models: Any) -> None:
    config = ContrastConfig(context="column:notes", against="prompt", form="value", sides="rejected")
    scorer = load_scorer(models[0], config=config, reference=models[1], scoring=FP32)
    [scored] = scorer.score([pair(notes="No.")])
    first, second = map(Plain, models)
    wording = "2 + 2?\n\nNotes on a first answer to this, to be heeded now:\n\nNo."
    sums = np.cumsum(first.response(own(wording), BAD) - second.response(own("2 + 2?"), BAD))
    assert is_unknown(scored, 0)
    found = known(scored)
    np.testing.assert_allclose(found.span_reward, [0, *sums[: len(found.span_reward) - 1]], atol=1e-5)
    assert found.reward == pytest.approx(sums[-1], abs=1e-5)


def test_implicit_is_two_models_and_one_context(models: Any) -> None:
    own_context = own("{{ prompt }} ({{ verdict }})")
    as_implicit = load_scorer(
        models[0],
        config=ImplicitConfig(context=own_context, beta=0.1),
        reference=models[1],
        scoring=FP32,  # type: ignore[arg-type] # as in a file
    )
    both = ContrastConfig(context=own_context, against=own_context, beta=0.1)  # type: ignore[arg-type] # as in a file
    as_contrast = load_scorer(models[0], config=both, reference=models[1], scoring=FP32)
    [one], [other] = as_implicit.score([pair()]), as_contrast.score([pair()])
    first, second = map(Plain, models)
    for side, (text, verdict) in enumerate([(GOOD, "chosen"), (BAD, "rejected")]):
        messages = own(f"2 + 2? ({verdict})")
        ratios = 0.1 * (first.response(messages, text) - second.response(messages, text))
        for scored in (one, other):
            found = known(scored, side)
            np.testing.assert_allclose(found.span_reward, ratios[: len(found.span_reward)], atol=1e-5)


@pytest.mark.parametrize("prompt", [pair().prompt, "2 + 2? "], ids=["turns", "texts"])
def test_logp(prompt: Any, models: Any) -> None:
    scorer = load_scorer(models[0], "logp", scoring=FP32)
    assert not scorer.info.partial
    [scored] = scorer.score([pair(prompt=prompt)])
    plain = Plain(models[0])
    if isinstance(prompt, str):
        logs = plain.log_probabilities(plain.ids(prompt), plain.ids(BAD + "<|im_end|>"))
    else:
        logs = plain.response(prompt, BAD)
    found = known(scored)
    np.testing.assert_allclose(found.span_reward, logs[: len(found.span_reward)], atol=1e-5)
    assert found.reward == pytest.approx(logs.sum(), abs=1e-4)


def test_texts_are_turns_where_a_context_is_shown(models: Any) -> None:
    config = ContrastConfig(context=own("{{ prompt }}({{ other }})"), sides="rejected")  # type: ignore[arg-type] # as in a file
    [scored] = load_scorer(models[0], config=config, scoring=FP32).score([pair(prompt="2 + 2? ")])
    plain = Plain(models[0])
    ratios = plain.response(own(f"2 + 2? ({GOOD})"), BAD) - plain.response(own("2 + 2? "), BAD)
    found = known(scored)
    np.testing.assert_allclose(found.span_reward, ratios[: len(found.span_reward)], atol=1e-5)


@pytest.mark.parametrize(("answer", "text"), [("better-answer", GOOD), ("column:gold", "4"), ("other-row", GOOD)])
def test_answer_value(answer: str, text: str, models: Any) -> None:
    scorer = load_scorer(models[0], config=AnswerValueConfig(answer=answer, bridge="\n\nSo: "), scoring=FP32)
    rows = [pair(gold=4), pair(1, [*TURNS], gold=4)]
    scored, _ = scorer.score(rows)
    plain = Plain(models[0])
    bridge, whole = plain.ids("\n\nSo: "), plain.ids(f"\n\nSo: {text}")
    assert whole[: len(bridge)] == bridge  # the answer's tokens are its own
    means = []
    for prefix in ["", "It is five. ", "It is five. Yes, five.\n", BAD]:
        before = [*plain.prompt(rows[0].prompt), *plain.ids(BAD)[: len(plain.ids(prefix))], *bridge]  # type: ignore[arg-type] # messages
        assert plain.hf.decode(before).endswith(prefix + "\n\nSo: ")
        means.append(plain.log_probabilities(before, whole[len(bridge) :]).mean())
    found = known(scored)
    assert found.span_end.tolist() == [0, 12, 23, 32]
    assert found.step_end.tolist() == [12, 23, 32]
    np.testing.assert_allclose(found.span_reward, means, atol=1e-5)
    assert found.reward == pytest.approx(means[-1], abs=1e-5)
    assert is_unknown(scored, 0) == (answer == "better-answer")


def test_answer_value_without_an_answer(models: Any) -> None:
    scorer = load_scorer(models[0], "answer_value", answer="column:gold", scoring=FP32)
    empty, filled = scorer.score([pair(gold=None), pair(1, gold="4")])
    assert isinstance(empty, RejectedRow)
    assert empty.code == "no_context"
    assert not is_unknown(filled, 0)
    alone = Row(0, {}, [*TURNS], (Completion("completion", says(BAD), preferred=False),))
    [unpaired] = load_scorer(models[0], "answer_value", scoring=FP32).score([alone])
    assert isinstance(unpaired, RejectedRow)
    assert unpaired.code == "no_context"


def test_other_kinds_read_a_context_too(
    tmp_path: Path, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]
) -> None:
    """The same reward as of a row whose prompt is the context."""
    weight = torch.randn(1, 32, generator=torch.Generator().manual_seed(4))
    settings = {"kind": "token_head", "head": {"kind": "linear"}}
    path = make_checkpoint(tmp_path / "head", {"score.weight": weight}, settings)
    shown = load_scorer(path, scoring=FP32, context=own("{{ prompt }} ({{ other }})"), sides="rejected")  # type: ignore[arg-type] # as in a file
    [scored] = shown.score([pair()])
    [expected] = load_scorer(path, scoring=FP32).score([pair(prompt=own(f"2 + 2? ({GOOD})"))])
    np.testing.assert_allclose(known(scored).span_reward, known(expected).span_reward, atol=1e-5)
    assert is_unknown(scored, 0)


# --- what is computed, and what does not fit -------------------------------------------------------------


def test_contexts_share_what_stands_before_them(models: Any) -> None:
    """Prompt alone and with an answer behind it share their beginning, and so do the branches of a response."""
    for kind, fewer in (("contrast", 0.95), ("answer_value", 0.6)):
        scorer: Any = load_scorer(models[0], kind, scoring=FP32)  # type: ignore[arg-type] # one of the two
        [readings] = scorer.prepare([pair(prompt=[SYSTEM, *TURNS])])
        ids = [request.ids for reading in readings for request in reading.requests]
        [tree] = grow_trees(ids, lambda _size, _new, _length: True)
        assert len(tree.ids) < fewer * sum(map(len, ids))


def test_a_context_that_is_too_long_rejects_its_row_alone(models: Any) -> None:
    scorer = load_scorer(models[0], "logp", context="column:notes", scoring=FP32)
    long, short = scorer.score([pair(notes="five " * 200), pair(1, notes="No.")])
    assert isinstance(long, RejectedRow)
    assert (long.index, long.code) == (0, "too_long")
    assert "this scorer reads 256" in long.message
    assert known(short).reward is not None


def test_which_rows_are_scored_together_decides_other_rows_and_nothing_else(models: Any) -> None:
    rows = [pair(at, own(f"{at} + 2?")) for at in range(3)]
    scorer = load_scorer(models[0], "logp", context="other-row", scoring=FP32)
    small = load_scorer(models[0], "logp", context="other-row", scoring=FP32.model_copy(update={"batch_tokens": 1}))
    for one, other in zip(scorer.score(rows), small.score(rows), strict=True):
        np.testing.assert_allclose(known(one).span_reward, known(other).span_reward, atol=1e-5)
    [single] = scorer.score(rows[:1])
    assert isinstance(single, RejectedRow)


def test_a_response_that_its_context_changes(
    tmp_path: Path, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]
) -> None:
    """A text without a chat template: the first token of the response may take in the end of the context."""
    head = torch.randn(len(make_tokenizer().hf), 32)
    path = make_checkpoint(tmp_path / "plain", {"lm_head.weight": head})
    for file in path.glob("chat_template*"):
        file.unlink()
    config = ContrastConfig(context=own("{{ prompt }} th"), against=own("{{ prompt }}"))  # type: ignore[arg-type] # as in a file
    row = Row(0, {}, "and", (Completion("completion", "ere is", preferred=False),))
    [scored] = load_scorer(path, config=config, scoring=FP32).score([row])
    assert isinstance(scored, RejectedRow)
    assert scored.code in ("template_alters_text", "tokens_uncovered", "prompt_not_prefix")


# --- settings --------------------------------------------------------------------------------------------


def test_nothing_to_contrast(models: Any) -> None:
    with pytest.raises(ConfigError, match="every reward would be 0"):
        load_scorer(models[0], "contrast", context="prompt", scoring=FP32)


def test_options_that_belong_to_another_kind(models: Any) -> None:
    with pytest.raises(ConfigError, match="--against is for kind 'contrast', and this is a 'logp' scorer"):
        load_scorer(models[0], "logp", against="prompt", scoring=FP32)
    with pytest.raises(ConfigError, match="--answer is for kind 'answer_value'"):
        load_scorer(models[0], "contrast", answer="other-row", scoring=FP32)
    with pytest.raises(ConfigError, match=r"--context: .*there is no context 'nothing'"):
        load_scorer(models[0], "logp", context="nothing", scoring=FP32)
    with pytest.raises(ConfigError, match="--context: kind 'labels' reads no model"):
        load_scorer(kind="labels", context="prompt")


def test_settings_beside_a_model(models: Any) -> None:
    settings = {"kind": "contrast", "context": own("{{ prompt }}!"), "sides": "rejected", "beta": 2.0}
    (models[0] / "asr_scorer.json").write_text(json.dumps(settings), encoding="utf-8")
    scorer = load_scorer(models[0], scoring=FP32)
    assert (scorer.info.kind, scorer.info.settings["beta"], len(scorer.info.contexts)) == ("contrast", 2.0, 1)
    overruled = load_scorer(models[0], context="other-row", sides="both", scoring=FP32).info
    assert overruled.contexts == ("other-row",)
    assert overruled.settings["beta"] == 2.0
    # A kind that was asked for by name is read with its own defaults.
    assert load_scorer(models[0], "logp", scoring=FP32).info.kind == "logp"
    assert load_scorer(models[0], "contrast", scoring=FP32).info.settings["beta"] == 2.0


@pytest.mark.parametrize("answer", ["It is four.", "4", "Café 二", "four\n\nfive"])
def test_branches_of_any_tokenizer(any_tokenizer: Any, answer: str) -> None:
    contexts = Contexts(("prompt",), "both", conversations=True)
    encoder = AnswerValueEncoder(any_tokenizer, AnswerValueConfig(answer="column:gold"), contexts)
    row = Row(0, {"gold": answer}, [*TURNS], (Completion("completion", says("Two. Four."), preferred=False),))
    try:
        align(row, any_tokenizer)
        any_tokenizer.encode(f"\n\nThe answer:\n{answer}", add_special_tokens=False)
    except RowRejected:
        with pytest.raises(RowRejected):
            encoder.encode(row)
        return
    [reading] = encoder.encode(row)
    assert len(reading.requests) == 3
    for request in reading.requests:
        assert request.target == [request.ids[at + 1] for at in request.read]
        shown = any_tokenizer.hf.decode(request.target).strip().lower()
        assert shown.endswith(answer.lower().split()[-1])
    tails = {tuple(request.ids[request.read[0] + 1 :]) for request in reading.requests}
    assert len(tails) == 1


def test_a_column_that_is_not_there_is_found_before_loading(tmp_path: Path, models: Any) -> None:
    import pyarrow as pa

    (models[0] / "model.safetensors").unlink()
    schema = pa.schema({"prompt": pa.string(), "notes": pa.string()})
    with pytest.raises(InputError, match="'feedback', which is missing; there are prompt, notes"):
        load_scorer(models[0], preset="feedback", first_rows=[pair()], schema=schema, scoring=FP32)


def test_fingerprints_tell_contexts_apart(models: Any) -> None:
    contexts: list[Any] = ["prompt", "other-row", "good-instruction", "column:a", own("{{ prompt }}!")]
    found = [load_scorer(models[0], "logp", context=context, scoring=FP32).info for context in contexts]
    assert len({info.fingerprint for info in found}) == len(contexts)
    assert [info.partial for info in found] == [False, True, True, True, True]
    again = load_scorer(models[0], config=LogProbabilityConfig(context="other-row"), scoring=FP32).info
    assert again.fingerprint == found[1].fingerprint


@pytest.mark.parametrize(
    ("preset", "contexts", "sides"),
    [
        ("hindsight", ("better-answer",), "rejected"),
        ("hindsight-controlled", ("better-answer", "other-row"), "rejected"),
        ("instructions", ("good-instruction", "bad-instruction"), "both"),
        ("feedback", ("column:feedback",), "both"),
    ],
)
def test_presets(preset: str, contexts: Any, sides: str, models: Any) -> None:
    scorer: Any = load_scorer(models[0], preset=preset, scoring=FP32)
    assert scorer.info.contexts == contexts
    assert scorer.info.settings.get("sides", "both") == sides
    assert (scorer.info.kind, scorer.info.form) == ("contrast", "increment")
