"""``prompt_ids`` and ``S_ids`` are compared, id for id, with what TRL's own trainer makes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_data.errors import RowRejected
from asr_data.response import response_text
from asr_data.text.align import AlignedResponse, AlignedRow, align
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Completion, Row, Text

USER = [{"role": "user", "content": "How much is 2 + 2?"}]
SYSTEM = [{"role": "system", "content": "Be brief. 简短"}, *USER]
TURNS = [*USER, {"role": "assistant", "content": "Four."}, {"role": "user", "content": "Sure? 🤔"}]
ANSWERS = [
    ("The answer is four.", "Five!"),
    (" 👩\u200d👩\u200d👧 ", "e\u0301 "),
    ("二加二等于四。\n\n", "שלום"),
    ("a<|im_end|>", "a"),
]
TEMPLATES = ["chatml", "trimming", "trimming_padded", "thinking", "llama3", "gemma", "mistral"]
TRIMMING = {"trimming", "trimming_padded", "llama3", "gemma"}
KINDS = ["byte_level", "byte_level_nfc", "metaspace_bpe", "metaspace_unigram"]


def row(prompt: Text, *answers: Text, **template_kwargs: Any) -> Row:
    sides = ("chosen", "rejected") if len(answers) == 2 else ("completion",)
    completions = (Completion(s, a, s != "rejected") for s, a in zip(sides, answers, strict=True))
    return Row(0, {}, prompt, tuple(completions), template_kwargs)


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def as_trl(example: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    if importlib.util.find_spec("trl") is None:
        pytest.skip("TRL is not installed: pip install 'asr-data[train]'")
    from datasets import Dataset
    from trl import DPOTrainer

    hf = tokenizer.hf
    arguments = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start")
    trainer: Any = SimpleNamespace(_tokenizer=hf)
    prepared = DPOTrainer._prepare_dataset(trainer, Dataset.from_list([example]), hf, arguments, "train")
    return dict(prepared[0])


def check_like_trl(given_row: Row, tokenizer: Tokenizer) -> None:
    aligned = align(given_row, tokenizer)
    chosen, rejected = given_row.completions
    example = {"prompt": given_row.prompt, "chosen": chosen.content, "rejected": rejected.content}
    wanted = as_trl(example | dict(given_row.template_kwargs), tokenizer)
    assert aligned.prompt_ids == wanted["prompt_ids"]
    assert aligned.responses[0].ids == wanted["chosen_ids"]
    assert aligned.responses[1].ids == wanted["rejected_ids"]


def covered(response: AlignedResponse) -> list[bytes]:
    raw = response.text.encode()
    return [raw[a:b] for a, b in zip(response.start, response.end, strict=True)]


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("prompt", [USER, SYSTEM, TURNS], ids=["user", "system", "turns"])
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", ["byte_level", "metaspace_bpe"])
@pytest.mark.filterwarnings("ignore:.*tokenized prompt is not a prefix:UserWarning")
def test_messages_become_the_ids_that_trl_makes(
    kind: str, template: str, prompt: Text, answers: tuple[str, str], make_tokenizer: Callable[..., Tokenizer]
) -> None:
    check_like_trl(row(prompt, *(says(a) for a in answers)), make_tokenizer(kind, template))


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("prompt", ["How much is 2 + 2? ", "Frage: é\n\n", "the an"])
@pytest.mark.parametrize("kind", ["byte_level", "metaspace_bpe", "metaspace_unigram"])
def test_strings_become_the_ids_that_trl_makes(
    kind: str, prompt: str, answers: tuple[str, str], make_tokenizer: Callable[..., Tokenizer]
) -> None:
    check_like_trl(row(prompt, *answers), make_tokenizer(kind))


@pytest.mark.parametrize("template", TEMPLATES)
def test_completions_of_several_messages_become_the_ids_that_trl_makes(
    template: str, make_tokenizer: Callable[..., Tokenizer]
) -> None:
    more = [*says("Four. "), {"role": "user", "content": "Why?"}, *says("Because.")]
    check_like_trl(row(USER, more, says("No")), make_tokenizer("byte_level", template))


def test_a_token_across_the_border_of_prompt_and_response(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer("byte_level")
    aligned = align(row("two t", "he answer"), tokenizer)
    assert aligned.prompt_merged
    assert "".join(tokenizer.hf.convert_ids_to_tokens(aligned.responses[0].ids)).startswith("Ġthe")
    assert covered(aligned.responses[0])[0] == b"he"


def check_response(response: AlignedResponse, stripped: bool) -> None:
    text = response.text.encode()
    count = np.zeros(len(text), dtype=int)
    for start, end in zip(response.start, response.end, strict=True):
        count[start:end] += 1
    wanted = np.ones(len(text), dtype=int)
    if stripped:
        left = len(response.text) - len(response.text.lstrip())
        lead, core = len(response.text[:left].encode()), len(response.text.strip().encode())
        wanted[:lead] = wanted[lead + core :] = 0
    np.testing.assert_array_equal(count, wanted)
    assert (np.diff(response.start) >= 0).all()
    assert (np.diff(response.end) >= 0).all()
    assert len(response.ids) == len(response.written) == len(response.closing)
    assert response.written[response.end > response.start].all()
    assert not response.closing[response.end > response.start].any()


@pytest.mark.parametrize("kind", KINDS)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20),
    template=st.sampled_from(TEMPLATES),
)
@settings(max_examples=60, deadline=None)
def test_any_text_is_covered_or_rejected(
    kind: str, text: str, template: str, make_tokenizer: Callable[..., Tokenizer]
) -> None:
    tokenizer = make_tokenizer(kind, template)
    codes = {"tokenizer_alters_text", "template_alters_text", "tokens_uncovered"}
    if kind == "byte_level":
        codes = {"template_alters_text"} if template in TRIMMING else set()
    try:
        aligned = align(row(USER, says(text)), tokenizer)
    except RowRejected as rejected:
        if rejected.code not in codes:
            raise
        return
    check_response(aligned.responses[0], stripped=template in TRIMMING)
    assert aligned.responses[0].closing.any()


def one(aligned: AlignedRow) -> AlignedResponse:
    (response,) = aligned.responses
    return response


def test_the_end_of_turn_closes(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer("byte_level")
    response = one(align(row(USER, says("Hi")), tokenizer))
    assert tokenizer.hf.convert_ids_to_tokens(response.ids) == ["H", "i", "<|im_end|>", "Ċ"]
    assert response.closing.tolist() == [False, False, True, True]
    assert response.written.all()
    assert covered(response) == [b"H", b"i", b"", b""]


def test_other_speakers_are_not_written(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer("byte_level")
    completion = [*says("Hi"), {"role": "tool", "content": "Z"}, *says("Yo")]
    response = one(align(row(USER, completion), tokenizer))
    tokens = tokenizer.hf.convert_ids_to_tokens(response.ids)
    written = [t for t, w in zip(tokens, response.written, strict=True) if w]
    assert written == ["H", "i", "<|im_end|>", "Y", "o", "<|im_end|>", "Ċ"]
    assert [t for t, c in zip(tokens, response.closing, strict=True) if c] == ["<|im_end|>", "<|im_end|>", "Ċ"]
    assert response.text == response_text(completion) == "HiYo"
    assert [s for s in covered(response) if s] == [b"H", b"i", b"Y", b"o"]


def test_what_the_template_thinks_is_trained_on_but_covers_nothing(
    make_tokenizer: Callable[..., Tokenizer],
) -> None:
    tokenizer = make_tokenizer("byte_level", "thinking")
    response = one(align(row(USER, says("Hi")), tokenizer))
    assert tokenizer.hf.decode(response.ids) == "<think>\n\n</think>\n\nHi<|im_end|>\n"
    assert response.written.all()
    assert b"".join(covered(response)) == b"Hi"


def test_trimmed_white_space_belongs_to_no_token(make_tokenizer: Callable[..., Tokenizer]) -> None:
    response = one(align(row(USER, says("\n é ")), make_tokenizer("byte_level", "trimming")))
    assert response.text == "\n é "
    assert response.start[response.end > response.start].min() == 2
    assert b"".join(covered(response)) == "é".encode()


def test_strings_and_messages_do_not_mix(make_tokenizer: Callable[..., Tokenizer]) -> None:
    for mixed in (row("How much?", says("Four")), row(USER, "Four")):
        with pytest.raises(RowRejected) as caught:
            align(mixed, make_tokenizer("byte_level"))
        assert caught.value.code == "wrong_type"


@pytest.mark.parametrize(
    ("kind", "template", "prompt", "answer", "code"),
    [
        ("nfkc", "chatml", USER, says("x²"), "tokenizer_alters_text"),
        ("byte_level", "upper", USER, says("four"), "template_alters_text"),
        ("byte_level", "no_system", SYSTEM, says("four"), "template_error"),
        ("byte_level", "chatml", "T", "he", "prompt_not_prefix"),
    ],
)
def test_rejected(
    kind: str, template: str, prompt: Text, answer: Text, code: str, make_tokenizer: Callable[..., Tokenizer]
) -> None:
    with pytest.raises(RowRejected) as caught:
        align(row(prompt, answer), make_tokenizer(kind, template))
    assert caught.value.code == code
