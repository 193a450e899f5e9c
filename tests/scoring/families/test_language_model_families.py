"""Presets that read a language model, against their authors' reading of a tiny checkpoint."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from asr_data.config import ScoringConfig
from asr_data.errors import ScorerError
from asr_data.scoring.load import load_scorer
from asr_data.scoring.presets import find_preset
from asr_data.scoring.protocol import Scorer
from asr_data.types import ByteRewards, Completion, RejectedRow, Row, Text

from .families_language_model import (
    load,
    log_ratios,
    read_math_shepherd,
    read_rlhflow,
    read_versaprm,
    save,
    save_llama,
    save_mistral,
)
from .families_token_head import SYSTEM, qwen_tokenizer

FP32 = ScoringConfig(dtype="float32", device="cpu")
SMALL = FP32.model_copy(update={"batch_tokens": 128})
QUESTIONS: list[tuple[str, list[str], list[str]]] = [
    ("How much is 2 + 2?", ["Step 1: Two and two are four.", "Step 2: The answer is: 4"], ["Five!"]),
    ("Wie spät ist es?", ["Es ist zwölf Uhr 🕛.", "二", "Then 5 + 3 - 1."], ["The answer is 12, or it is n"]),
    (" ".join(["x"] * 20), ["a", "b", "c", "d"], [" ".join(["so"] * 30), "the answer is four."]),
]
LABELS = {
    "math-shepherd": (save_mistral, read_math_shepherd, "\n"),
    "rlhflow-prm": (save_llama, read_rlhflow, "\n\n"),
    "versaprm": (save_llama, read_versaprm, "\n\n"),
}
USER = [{"role": "user", "content": "How much is 2 + 2?"}]


@pytest.fixture(scope="module")
def directory_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], Path]], Path]:
    made: dict[Any, Path] = {}

    def of(saver: Callable[[Path], Path]) -> Path:
        if saver not in made:
            made[saver] = saver(tmp_path_factory.mktemp("family"))
        return made[saver]

    return of


def row(index: int, prompt: Text, *answers: Text) -> Row:
    sides = ("chosen", "rejected") if len(answers) == 2 else ("completion",)
    return Row(index, {}, prompt, tuple(Completion(s, a, s != "rejected") for s, a in zip(sides, answers, strict=True)))


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def rows_of(split: str, *, messages: bool) -> list[Row]:
    rows = []
    for index, (question, *answers) in enumerate(QUESTIONS):
        texts = [split.join(steps) for steps in answers]
        if messages:
            rows.append(row(index, [{"role": "user", "content": question}], *(says(text) for text in texts)))
        else:
            rows.append(row(index, question, *texts))
    return rows


def answered(scorer: Scorer, rows: Sequence[Row]) -> list[ByteRewards]:
    out: list[ByteRewards] = []
    for entry in scorer.score(rows):
        assert not isinstance(entry, RejectedRow), entry
        out += entry
    return out


def tokenizer_of(directory: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory)


# --- label tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "scoring"), [(True, FP32), (False, SMALL)], ids=["messages", "strings in small batches"]
)
@pytest.mark.parametrize("preset", LABELS)
def test_labels_are_read_as_the_authors_do(
    preset: str, messages: bool, scoring: ScoringConfig, directory_of: Callable[..., Path]
) -> None:
    saver, read, split = LABELS[preset]
    directory = directory_of(saver)
    model, tokenizer = load(directory), tokenizer_of(directory)
    scorer = load_scorer(directory, preset=preset, scoring=scoring)
    answers = iter(answered(scorer, rows_of(split, messages=messages)))
    seen = []
    for question, *both in QUESTIONS:
        for steps in both:
            answer = next(answers)
            np.testing.assert_allclose(answer.span_reward, read(model, tokenizer, question, steps), atol=1e-5, rtol=0)
            ends = np.cumsum([len((step + split).encode()) for step in steps])
            ends[-1] -= len(split)  # nothing stands after the last step
            assert answer.span_end.tolist() == answer.step_end.tolist() == ends.tolist()
            assert answer.reward is None
            seen += answer.span_reward.tolist()
    assert np.std(seen) > 0.01
    assert tokenizer.pad_token == tokenizer.eos_token


def test_ids_are_those_of_the_cards(directory_of: Callable[..., Path]) -> None:
    mistral, llama = tokenizer_of(directory_of(save_mistral)), tokenizer_of(directory_of(save_llama))
    assert mistral.encode("+ -")[1:] == [648, 387]
    assert mistral.encode("ки")[-1] == 12902
    assert llama.encode("-+ \n\n\n\n", add_special_tokens=False) == [12, 10, 23535]
    assert llama.convert_tokens_to_ids("<|eot_id|>") == 128009


@pytest.mark.parametrize(("preset", "text"), [("math-shepherd", "It is ки four.\nSo."), ("math-shepherd", "ки")])
def test_a_separator_in_the_response(preset: str, text: str, directory_of: Callable[..., Path]) -> None:
    scorer = load_scorer(directory_of(LABELS[preset][0]), preset=preset, scoring=FP32)
    entry, after = scorer.score([row(4, USER, says(text)), row(5, USER, says("Four."))])
    assert isinstance(entry, RejectedRow)
    assert (entry.index, entry.code) == (4, "separator_in_text")
    assert not isinstance(after, RejectedRow)


@pytest.mark.parametrize("preset", LABELS)
def test_a_separator_in_the_prompt_is_no_step(preset: str, directory_of: Callable[..., Path]) -> None:
    saver, read, split = LABELS[preset]
    question = "What is ки \n\n\n\nand +?"
    directory = directory_of(saver)
    asked = [row(0, [{"role": "user", "content": question}], says(f"a{split}b"))]
    (answer,) = answered(load_scorer(directory, preset=preset, scoring=FP32), asked)
    wanted = read(load(directory), tokenizer_of(directory), question, ["a", "b"])[-2:]
    np.testing.assert_allclose(answer.span_reward, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("preset", LABELS)
def test_a_response_longer_than_the_context(preset: str, directory_of: Callable[..., Path]) -> None:
    saver, _, split = LABELS[preset]
    (entry,) = load_scorer(directory_of(saver), preset=preset, scoring=FP32).score(
        [row(0, USER, says(split.join(["Then divide by two."] * 100)))]
    )
    assert isinstance(entry, RejectedRow)
    assert entry.code == "too_long"


def test_a_tokenizer_without_the_separator(directory_of: Callable[..., Path]) -> None:
    with pytest.raises(ScorerError, match=r"separator ' \\n\\n\\n\\n' is \d+ tokens"):
        load_scorer(directory_of(save_mistral), preset="versaprm", scoring=FP32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lm_head.weight": None}, r"missing \['lm_head.weight'\]"),
        ({"lm_head.weight": None, "head.weight": torch.zeros(32000, 16)}, r"unexpected \['head.weight'\]"),
        ({"lm_head.weight": torch.zeros(32001, 16)}, r"shape \[32001, 16\], wanted \[32000, 16\]"),
        ({"lm_head.bias": torch.zeros(32000)}, r"unexpected \['lm_head.bias'\]"),
        ({"score.weight": torch.zeros(1, 16)}, r"missing none, unexpected \['score.weight'\]"),
    ],
)
def test_a_head_that_does_not_fit(
    change: dict[str, torch.Tensor | None], message: str, tmp_path: Path, directory_of: Callable[..., Path]
) -> None:
    target = tmp_path / "changed"
    shutil.copytree(directory_of(save_mistral), target)
    tensors = load_file(target / "model.safetensors") | change
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ScorerError, match=message):
        load_scorer(target, preset="math-shepherd", scoring=FP32)


# --- policy and reference --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """EurusPRM, PRIME, and policies trained with DPO: Qwen2 with the chat template of Qwen2.5-Math."""
    tokenizer = qwen_tokenizer(eos="<|im_end|>")
    directories = [tmp_path_factory.mktemp(name) for name in ("policy", "reference")]
    for seed, directory in enumerate(directories):
        save(directory, "qwen2", tokenizer, len(tokenizer) + 3, seed=seed)  # rows that no token uses, as Qwen has them
    return directories[0], directories[1]


def chat(question: str) -> str:
    head = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n"
    return head + "<|im_start|>assistant\n"


def ratios_and_ends(pair: tuple[Path, Path], prompt: str, text: str, closing: str) -> tuple[np.ndarray, list[int]]:
    """Log-ratios of the response's tokens, closing ones included, and the byte ends of those that stand for text."""
    tokenizer = tokenizer_of(pair[0])
    before, after = tokenizer.encode(prompt), tokenizer.encode(prompt + text + closing)
    assert after[: len(before)] == before
    ratios = log_ratios(load(pair[0]), load(pair[1]), after)[len(before) - 1 :].numpy()
    pieces = [tokenizer.convert_ids_to_tokens(i) for i in after[len(before) :]]
    ends = list(itertools.accumulate(len(piece) for piece in pieces))  # a character stands for a byte
    return ratios, [end for end in ends if end <= len(text.encode())]


@pytest.mark.parametrize("messages", [True, False], ids=["messages", "strings"])
def test_eurusprm(pair: tuple[Path, Path], messages: bool) -> None:
    scorer = load_scorer(pair[0], preset="eurusprm", reference=pair[1], scoring=FP32)
    answers = iter(answered(scorer, rows_of("\n\n", messages=messages)))
    for question, *both in QUESTIONS:
        for steps in both:
            answer, text = next(answers), "\n\n".join(steps)
            ratios, ends = ratios_and_ends(pair, chat(question), text, "<|im_end|>\n")
            sums = 0.001 * np.cumsum(ratios)
            last = [len("\n\n".join(steps[: k + 1]).encode()) for k in range(len(steps))]
            values = [sums[next(t for t, end in enumerate(ends) if end >= byte)] for byte in last[:-1]]
            np.testing.assert_allclose(answer.span_reward, [0, *values, sums[-1]], atol=1e-7, rtol=0)
            wide = [*(byte + 2 for byte in last[:-1]), last[-1]]
            assert answer.span_end.tolist() == [0, *wide]
            assert answer.step_end.tolist() == wide
            assert answer.reward == pytest.approx(sums[-1], abs=1e-6)


@pytest.mark.parametrize(
    ("preset", "messages", "beta"), [("prime", True, 0.05), ("prime", False, 0.05), ("dpo-pair", True, 0.1)]
)
@pytest.mark.parametrize("scoring", [FP32, SMALL], ids=["together", "small batches"])
def test_log_ratios_of_tokens(
    pair: tuple[Path, Path], preset: str, messages: bool, beta: float, scoring: ScoringConfig
) -> None:
    scorer = load_scorer(pair[0], preset=preset, reference=pair[1], scoring=scoring)
    answers = iter(answered(scorer, rows_of(" ", messages=messages)))
    for question, *both in QUESTIONS:
        for steps in both:
            answer, text = next(answers), " ".join(steps)
            ratios, ends = ratios_and_ends(pair, chat(question), text, "<|im_end|>\n")
            assert answer.span_end.tolist() == ends
            np.testing.assert_allclose(answer.span_reward, beta * ratios[: len(ends)], atol=1e-5, rtol=0)
            assert answer.reward == pytest.approx(beta * ratios.sum(), abs=1e-5)
            assert np.std(answer.span_reward) > 0.01


def test_a_dpo_pair_on_strings_is_closed_with_eos(pair: tuple[Path, Path]) -> None:
    scorer = load_scorer(pair[0], preset="dpo-pair", reference=pair[1], scoring=FP32)
    (answer,) = answered(scorer, [row(0, "2 + 2 = ", "4.")])
    ratios, ends = ratios_and_ends(pair, "2 + 2 = ", "4.", "<|im_end|>")
    np.testing.assert_allclose(answer.span_reward, 0.1 * ratios[: len(ends)], atol=1e-5, rtol=0)
    assert answer.reward == pytest.approx(0.1 * ratios.sum(), abs=1e-5)


def test_eurusprm_names_its_reference() -> None:
    assert find_preset("eurusprm").config.reference == "Qwen/Qwen2.5-Math-7B-Instruct"
