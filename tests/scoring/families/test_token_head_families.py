"""Every preset of kind ``token_head`` against its authors' reading of a tiny checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from asr_data.config import ScoringConfig
from asr_data.errors import ScorerError
from asr_data.scoring.load import load_scorer
from asr_data.types import ByteRewards, Completion, RejectedRow, Row, Text

from .families_token_head import FAMILIES, SYSTEM, Family, logits, save_token_classifier

FP32 = ScoringConfig(dtype="float32", device="cpu")
SMALL = FP32.model_copy(update={"batch_tokens": 96})
QUESTIONS = [
    ("How much is 2 + 2?", ["Two and two are four.", "So the answer is \\boxed{4}."], ["Five!"]),
    ("Wie spät ist es?", ["Es ist zwölf Uhr 🕛.", "二", "1. First", "2. Then"], ["So the answer is 12."]),
    ("Add\nand divide.", ["1"], ["First, add the numbers: 3 + 5 = 8.", "Then divide by two.", "It is 4."]),
    (" ".join(["x"] * 30), ["a", "b", "c", "d", "e", "f"], [" ".join(["so"] * 40), "the answer is four."]),
]


@pytest.fixture(scope="module")
def directory_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family], Path]:
    made: dict[Any, Path] = {}

    def of(family: Family) -> Path:
        if family.save not in made:
            made[family.save] = family.save(tmp_path_factory.mktemp("family"))
        return made[family.save]

    return of


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def row(index: int, prompt: Text, *answers: Text) -> Row:
    sides = ("chosen", "rejected") if len(answers) == 2 else ("completion",)
    return Row(index, {}, prompt, tuple(Completion(s, a, s != "rejected") for s, a in zip(sides, answers, strict=True)))


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def rows_of(family: Family, *, messages: bool) -> list[Row]:
    rows = []
    for index, (question, *answers) in enumerate(QUESTIONS):
        texts = [family.split.join(steps) for steps in answers]
        if messages:
            rows.append(row(index, [{"role": "user", "content": question}], *(says(text) for text in texts)))
        else:
            rows.append(row(index, question, *texts))
    return rows


def answered(directory: Path, family: Family, rows: Sequence[Row], scoring: ScoringConfig = FP32) -> list[ByteRewards]:
    out: list[ByteRewards] = []
    for entry in load_scorer(directory, preset=family.preset, scoring=scoring).score(rows):
        assert not isinstance(entry, RejectedRow), entry
        out += entry
    return out


def tokenizer_of(directory: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory)


def read_plainly(directory: Path, family: Family, question: str, steps: Sequence[str], padding: int = 0) -> np.ndarray:
    """The authors' rewards of the steps; ``padding`` tokens in front are masked out."""
    tokenizer = tokenizer_of(directory)
    ids, positions = family.put(tokenizer, question, steps)
    inputs = {}
    if padding:
        inputs["attention_mask"] = torch.tensor([[0] * padding + [1] * len(ids)])
        inputs["position_ids"] = torch.tensor([[0] * padding + list(range(len(ids)))])
    z = logits(directory, [tokenizer.pad_token_id] * padding + ids, **inputs)
    return np.array([float(family.reward(z[padding + t])) for t in positions])


def largest_difference(directory: Path, family: Family, *, padding: int = 0, **how: Any) -> float:
    answers = answered(directory, family, rows_of(family, messages=how.pop("messages", True)), **how)
    asked = [(question, steps) for question, *both in QUESTIONS for steps in both]
    differences = []
    for answer, (question, steps) in zip(answers, asked, strict=True):
        plain = read_plainly(directory, family, question, steps, padding)
        assert plain.shape == answer.span_reward.shape == (len(steps),)
        differences.append(np.abs(plain - answer.span_reward).max())
    return float(max(differences))


@pytest.mark.parametrize("scoring", [FP32, SMALL], ids=["together", "small batches"])
def test_rewards_are_the_authors(
    family: Family, scoring: ScoringConfig, directory_of: Callable[[Family], Path]
) -> None:
    assert largest_difference(directory_of(family), family, scoring=scoring) < 1e-5


def test_strings_are_read_as_messages_are(family: Family, directory_of: Callable[[Family], Path]) -> None:
    assert largest_difference(directory_of(family), family, messages=False) < 1e-5


def test_left_padding_gives_the_same(family: Family, directory_of: Callable[[Family], Path]) -> None:
    assert largest_difference(directory_of(family), family, padding=7) < 1e-5


def test_rewards_differ_between_steps(family: Family, directory_of: Callable[[Family], Path]) -> None:
    rewards = np.concatenate(
        [a.span_reward for a in answered(directory_of(family), family, rows_of(family, messages=True))]
    )
    assert rewards.std() > 0.01


def test_steps_cover_the_response(family: Family, directory_of: Callable[[Family], Path]) -> None:
    answers = answered(directory_of(family), family, rows_of(family, messages=True))
    texts = [steps for _, *both in QUESTIONS for steps in both]
    for answer, steps in zip(answers, texts, strict=True):
        wide = [len((step + family.split).encode()) for step in steps[:-1]] + [len(steps[-1].encode())]
        assert answer.span_end.tolist() == answer.step_end.tolist() == np.cumsum(wide).tolist()


@pytest.mark.parametrize("name", ["trl-prm", "trl-prm, Llama"])
def test_the_plain_logits_are_those_of_transformers(name: str, directory_of: Callable[[Family], Path]) -> None:
    from transformers import AutoModelForTokenClassification

    directory = directory_of(FAMILIES[name])
    ids = [5, 70, 71, 72]
    with torch.inference_mode():
        theirs = AutoModelForTokenClassification.from_pretrained(directory, dtype=torch.float32)(torch.tensor([ids]))
    torch.testing.assert_close(logits(directory, ids), theirs.logits[0])


# --- heads that do not fit -------------------------------------------------------------------------------


def changed(directory: Path, target: Path, tensors: Mapping[str, torch.Tensor | None]) -> Path:
    """A copy of the checkpoint with other tensors; None leaves one out."""
    shutil.copytree(directory, target)
    all_tensors = load_file(target / "model.safetensors") | tensors
    kept = {name: tensor for name, tensor in all_tensors.items() if tensor is not None}
    save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_a_head_under_another_name(family: Family, tmp_path: Path, directory_of: Callable[[Family], Path]) -> None:
    tensors = {family.head: None, "classifier.weight": torch.zeros(2, 32)}
    directory = changed(directory_of(family), tmp_path / "renamed", tensors)
    with pytest.raises(ScorerError, match=rf"missing \['{family.head}'\], unexpected \['classifier.weight'\]"):
        load_scorer(directory, preset=family.preset, scoring=FP32)


def test_a_head_that_is_not_there(family: Family, tmp_path: Path, directory_of: Callable[[Family], Path]) -> None:
    directory = changed(directory_of(family), tmp_path / "missing", {family.head: None})
    with pytest.raises(ScorerError, match=rf"missing \['{family.head}'\]"):
        load_scorer(directory, preset=family.preset, scoring=FP32)


def test_a_head_of_another_shape(family: Family, tmp_path: Path, directory_of: Callable[[Family], Path]) -> None:
    directory = changed(directory_of(family), tmp_path / "wide", {family.head: torch.zeros(5, 32)})
    with pytest.raises(ScorerError, match=rf"'{family.head}' in .* has shape \[5, 32\], wanted \[[123], 32\]"):
        load_scorer(directory, preset=family.preset, scoring=FP32)


def test_a_tokenizer_without_the_separator(directory_of: Callable[[Family], Path], tmp_path: Path) -> None:
    qwen = FAMILIES["qwen2.5-math-prm"]
    directory = changed(directory_of(qwen), tmp_path / "other", {})
    tokenizer_of(directory_of(FAMILIES["pure-prm"])).save_pretrained(directory)
    with pytest.raises(ScorerError, match=r"separator '<extra_0>' is \d+ tokens"):
        load_scorer(directory, preset=qwen.preset, scoring=FP32)


# --- odd responses ---------------------------------------------------------------------------------------

USER = [{"role": "user", "content": "How much is 2 + 2?"}]


def test_padding_is_eos(directory_of: Callable[[Family], Path]) -> None:
    same = {name for name, f in FAMILIES.items() if (t := tokenizer_of(directory_of(f))).pad_token == t.eos_token}
    assert same == {"trl-prm", "trl-prm, Llama", "pure-prm", "reasoneval-34b", "skywork-o1-prm"}


def test_a_separator_in_the_response(directory_of: Callable[[Family], Path]) -> None:
    qwen = FAMILIES["qwen2.5-math-prm"]
    scorer = load_scorer(directory_of(qwen), preset=qwen.preset, scoring=FP32)
    (entry,) = scorer.score([row(4, USER, says("Two<extra_0> and two.\n\nFour."))])
    assert isinstance(entry, RejectedRow)
    assert (entry.index, entry.code) == (4, "separator_in_text")


@pytest.mark.parametrize("name", ["qwen2.5-math-prm", "trl-prm"])
def test_a_separator_in_the_prompt_is_no_step(name: str, directory_of: Callable[[Family], Path]) -> None:
    family, question = FAMILIES[name], "What does <extra_0> mean?\nSay it."
    ids, read = family.put(tokenizer_of(directory_of(family)), question, ["a", "b"])
    z = logits(directory_of(family), ids)
    wanted = [float(family.reward(z[t])) for t in read[-2:]]
    asked = row(0, [{"role": "user", "content": question}], says(f"a{family.split}b"))
    (answer,) = answered(directory_of(family), family, [asked])
    np.testing.assert_allclose(answer.span_reward, wanted, atol=1e-5)


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - {"skywork-o1-prm"}))
def test_empty_steps_are_not_made(name: str, directory_of: Callable[[Family], Path]) -> None:
    family = FAMILIES[name]
    text = f"one{family.split * 2}two{family.split}"
    (answer,) = answered(directory_of(family), family, [row(0, USER, says(text))])
    plain = read_plainly(directory_of(family), family, USER[0]["content"], ["one", "two"])
    np.testing.assert_allclose(answer.span_reward, plain, atol=1e-5)
    assert answer.step_end.tolist() == [len(f"one{family.split * 2}"), len(text)]


def test_skywork_keeps_empty_steps(directory_of: Callable[[Family], Path]) -> None:
    family = FAMILIES["skywork-o1-prm"]
    (answer,) = answered(directory_of(family), family, [row(0, USER, says("one\n\n  two\n"))])
    plain = read_plainly(directory_of(family), family, USER[0]["content"], ["one", "", "  two", ""])
    np.testing.assert_allclose(answer.span_reward, plain[:3], atol=1e-5)  # the last one has no bytes
    assert answer.step_end.tolist() == [4, 5, 11]


def test_a_response_without_a_separator(family: Family, directory_of: Callable[[Family], Path]) -> None:
    (answer,) = answered(directory_of(family), family, [row(0, USER, says("It is four."))])
    plain = read_plainly(directory_of(family), family, USER[0]["content"], ["It is four."])
    np.testing.assert_allclose(answer.span_reward, plain, atol=1e-5)
    assert answer.step_end.tolist() == [11]


def test_a_response_longer_than_the_context(family: Family, directory_of: Callable[[Family], Path]) -> None:
    scorer = load_scorer(directory_of(family), preset=family.preset, scoring=FP32)
    long = "\n".join(["Then divide by two."] * 200)
    entry, after = scorer.score([row(0, USER, says(long)), row(1, USER, says("Four."))])
    assert isinstance(entry, RejectedRow)
    assert entry.code == "too_long"
    assert "256" in entry.message
    assert not isinstance(after, RejectedRow)


def test_a_system_message_of_the_row_stands(directory_of: Callable[[Family], Path]) -> None:
    family = FAMILIES["qwen2.5-math-prm"]
    rows = [
        row(0, [{"role": "system", "content": SYSTEM}, *USER], says("Four.")),
        row(1, USER, says("Four.")),
        row(2, [{"role": "system", "content": "Be brief."}, *USER], says("Four.")),
    ]
    own, added, other = (answer.span_reward[0] for answer in answered(directory_of(family), family, rows))
    assert own == pytest.approx(added, abs=1e-6)
    assert abs(other - own) > 1e-3


def test_turns_that_a_plain_prompt_has_no_place_for(directory_of: Callable[[Family], Path]) -> None:
    family = FAMILIES["pure-prm"]
    scorer = load_scorer(directory_of(family), preset=family.preset, scoring=FP32)
    (entry,) = scorer.score([row(3, [*USER, *says("Four."), *USER], says("Four."))])
    assert isinstance(entry, RejectedRow)
    assert entry.code == "template_error"
    assert "user, assistant, user" in entry.message


# --- our own ---------------------------------------------------------------------------------------------


def test_our_own_is_read_at_every_token(tmp_path: Path) -> None:
    one_label = {"score.weight": torch.ones(1, 32), "score.bias": torch.zeros(1)}
    directory = changed(save_token_classifier(tmp_path / "two"), tmp_path / "one", one_label)
    (directory / "asr_scorer.json").write_text("{}", encoding="utf-8")
    text = "It is four.\n\nSo."
    (entry,) = load_scorer(directory, scoring=FP32).score([row(0, USER, says(text))])
    assert not isinstance(entry, RejectedRow)
    tokenizer = tokenizer_of(directory)
    chat = [{"role": "system", "content": SYSTEM}, *USER]
    before = tokenizer.encode(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
    response = tokenizer.encode(text)
    z = logits(directory, before + response)
    np.testing.assert_allclose(entry[0].span_reward, z[len(before) - 1 :, 0], atol=1e-5)
    assert len(entry[0].span_end) == len(response) + 1
    (same,) = load_scorer(directory, preset="asr-data", scoring=FP32).score([row(0, USER, says(text))])
    assert not isinstance(same, RejectedRow)
    np.testing.assert_array_equal(same[0].span_reward, entry[0].span_reward)
