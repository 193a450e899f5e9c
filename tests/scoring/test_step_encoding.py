"""Requests are compared with ids that the tokenizer alone gives for texts written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import RowRejected, ScorerError
from asr_data.scoring.config import PromptConfig, StepLayoutConfig
from asr_data.scoring.model_scorer import Reading
from asr_data.scoring.prompting import as_prompted, with_system
from asr_data.scoring.step_encoding import check_separator, encode_steps
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Completion, Row, Text

from .families.families_token_head import llama_tokenizer, qwen_tokenizer

MakeTokenizer = Callable[..., Tokenizer]
USER = [{"role": "user", "content": "2 + 2?"}]
TEXT = "Two and\n\nfour é \n\n\n\nend."
STEPS = ["Two and", "four é", "end."]
ENDS = [9, 21, 25]
CHAT = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
PLAIN = PromptConfig(template="Q: {prompt}\nA:")


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def row(prompt: Text, *answers: Text) -> Row:
    return Row(0, {}, prompt, tuple(Completion("completion", answer, preferred=True) for answer in answers))


ROW = row(USER, says(TEXT))
TEMPLATE = PromptConfig()


def read_one(
    tokenizer: Tokenizer, steps: StepLayoutConfig, prompt: PromptConfig = TEMPLATE, asked: Row = ROW
) -> tuple[list[int], list[int], list[int]]:
    """Ids, positions read, byte ends."""
    (reading,) = encode_steps(asked, tokenizer, prompt, steps)
    (request,) = reading.requests
    assert reading.span_end is reading.step_end
    return request.ids, request.read, reading.step_end.tolist()


# --- tokenised together ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("prompt", "before"), [(TEMPLATE, CHAT), (PLAIN, "Q: 2 + 2?\nA:")])
@pytest.mark.parametrize(("read", "back"), [("separator", 0), ("before_separator", 1)])
def test_a_separator_of_one_token(
    read: Any, back: int, prompt: PromptConfig, before: str, make_tokenizer: MakeTokenizer
) -> None:
    tokenizer = make_tokenizer()
    wanted = tokenizer.hf(before + "".join(step + "<sep>" for step in STEPS))["input_ids"]
    marks = [t - back for t, i in enumerate(wanted) if i == tokenizer.hf.convert_tokens_to_ids("<sep>")]
    ids, positions, ends = read_one(tokenizer, StepLayoutConfig(separator="<sep>", read=read), prompt)
    assert (ids[: len(wanted)], positions, ends) == (wanted, marks, ENDS)


@pytest.mark.parametrize(("prompt", "before"), [(TEMPLATE, CHAT), (PLAIN, "Q: 2 + 2?\nA:")])
@pytest.mark.parametrize("separator", [None, "<sep>"])
def test_the_last_token_of_a_step(
    separator: str | None, prompt: PromptConfig, before: str, make_tokenizer: MakeTokenizer
) -> None:
    tokenizer = make_tokenizer()
    marked = TEXT if separator is None else "".join(step + separator for step in STEPS)
    wanted = tokenizer.hf(before + marked)["input_ids"]
    lasts, at = [], 0
    for step in STEPS:
        at = marked.index(step, at) + len(step)
        lasts.append(len(tokenizer.hf(before + marked[:at])["input_ids"]) - 1)  # white space starts a token of its own
    ids, positions, ends = read_one(tokenizer, StepLayoutConfig(separator=separator), prompt)
    assert (ids[: len(wanted)], positions, ends) == (wanted, lasts, ENDS)


def test_the_marking_token_of_a_longer_separator(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    mark = tokenizer.hf.convert_tokens_to_ids("<sep>")
    steps = StepLayoutConfig(separator=" <sep>\n", separator_ids=(mark,), read="separator")
    wanted = tokenizer.hf("Q: 2 + 2?\nA:Two and <sep>\nfour é <sep>\nend. <sep>\n")["input_ids"]
    ids, positions, ends = read_one(tokenizer, steps, PLAIN)
    assert (ids, positions, ends) == (wanted, [t for t, i in enumerate(wanted) if i == mark], ENDS)


def test_a_separator_of_several_tokens(make_tokenizer: MakeTokenizer) -> None:
    several = {"separator": "step 1", "read": "separator"}
    with pytest.raises(ScorerError, match=r"separator 'step 1' is \d tokens in tokenizer 'byte_level'; it must be one"):
        check_separator(make_tokenizer(), StepLayoutConfig(**several))  # type: ignore[arg-type] # literals in a dict
    check_separator(make_tokenizer(), StepLayoutConfig(**several, tokenize="by_step"))  # type: ignore[arg-type]
    check_separator(make_tokenizer(), StepLayoutConfig(**several, layout="turn_per_step"))  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", [TEMPLATE, PLAIN])
@pytest.mark.parametrize("tokenize", ["together", "by_step"])
def test_a_separator_in_the_response(tokenize: Any, prompt: PromptConfig, make_tokenizer: MakeTokenizer) -> None:
    steps = StepLayoutConfig(separator="<sep>", read="separator", tokenize=tokenize)
    with pytest.raises(RowRejected, match="<sep>") as caught:
        read_one(make_tokenizer(), steps, prompt, row(USER, says("one<sep> two")))
    assert caught.value.code == "separator_in_text"


def test_a_separator_in_the_response_does_not_stand_in_for_one_that_merged(make_tokenizer: MakeTokenizer) -> None:
    hf = make_tokenizer().hf
    marked = hf.convert_ids_to_tokens(hf("d 2" + "d" + "2 an" + "d")["input_ids"])
    assert marked.count("d") == 2  # as many as steps, but the first is the text's own
    assert marked[-1] == "Ġand"
    with pytest.raises(RowRejected) as caught:
        read_one(
            make_tokenizer(), StepLayoutConfig(separator="d", read="separator"), PLAIN, row("2 + 2?", "d 2\n\n2 an")
        )
    assert caught.value.code == "separator_in_text"


@pytest.mark.parametrize("prompt", [TEMPLATE, PLAIN])
@pytest.mark.parametrize("tokenize", ["together", "by_step"])
def test_a_separator_in_the_prompt(tokenize: Any, prompt: PromptConfig, make_tokenizer: MakeTokenizer) -> None:
    steps = StepLayoutConfig(separator="<sep>", read="separator", tokenize=tokenize)
    asked = row([{"role": "user", "content": "What is <sep>?"}], says("a\n\nb"))
    ids, positions, ends = read_one(make_tokenizer(), steps, prompt, asked)
    mark = make_tokenizer().hf.convert_tokens_to_ids("<sep>")
    assert positions == [t for t, i in enumerate(ids) if i == mark][1:]
    assert ends == [3, 4]


# --- tokenised by step -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("prompt", "before"), [(TEMPLATE, CHAT), (PLAIN, "Q: 2 + 2?\nA:")])
@pytest.mark.parametrize("read", ["separator", "before_separator", "last_token_of_step"])
@pytest.mark.parametrize("separator", ["\n", "step 1"])
def test_by_step(separator: str, read: Any, prompt: PromptConfig, before: str, make_tokenizer: MakeTokenizer) -> None:
    hf = make_tokenizer().hf
    wanted, positions = list(hf(before)["input_ids"]), []
    for step in STEPS:
        wanted += hf(step)["input_ids"]
        if read != "separator":
            positions.append(len(wanted) - 1)
        wanted += hf(separator)["input_ids"]
        if read == "separator":
            positions.append(len(wanted) - 1)
    steps = StepLayoutConfig(separator=separator, tokenize="by_step", read=read)
    assert read_one(make_tokenizer(), steps, prompt) == (wanted, positions, ENDS)


def test_empty_steps_are_kept_where_asked_for(make_tokenizer: MakeTokenizer) -> None:
    hf = make_tokenizer().hf
    steps = StepLayoutConfig(split="\n", empty="keep", separator="\n", tokenize="by_step", read="separator")
    wanted = hf("Q")["input_ids"] + hf("a")["input_ids"] + hf("\n")["input_ids"] * 2 + hf("b\n")["input_ids"]
    first = len(hf("Q")["input_ids"])
    prompt = PromptConfig(template="{prompt}")
    asked = row("Q", "a\n\nb")
    assert read_one(make_tokenizer(), steps, prompt, asked) == (wanted, [first + 1, first + 2, first + 4], [2, 3, 4])


SPECIAL = [("tokenizer", ["<s>"]), ("bos", ["<s>"]), ("none", [])]


@pytest.mark.parametrize("tokenize", ["together", "by_step"])
@pytest.mark.parametrize(("special", "wanted"), SPECIAL)
def test_special_tokens_in_front(special: Any, wanted: list[str], tokenize: Any) -> None:
    tokenizer = Tokenizer(llama_tokenizer("</s>"), "llama")
    prompt = PromptConfig(template="{prompt} ", special=special)
    ids, positions, _ = read_one(tokenizer, StepLayoutConfig(tokenize=tokenize), prompt, row("2 + 2?", "four"))
    tokens = tokenizer.hf.convert_ids_to_tokens(ids)
    assert [token for token in tokens if token in ("<s>", "</s>")] == tokens[: len(wanted)] == wanted
    assert positions == [len(ids) - 1]


def test_bos_that_the_tokenizer_does_not_put() -> None:
    tokenizer = Tokenizer(qwen_tokenizer(bos="<|endoftext|>"), "qwen")
    bos = tokenizer.hf.bos_token_id
    for special, first in (("tokenizer", False), ("bos", True)):
        prompt = PromptConfig(template="{prompt}\n", special=special)  # type: ignore[arg-type] # a literal
        ids, _, _ = read_one(tokenizer, StepLayoutConfig(tokenize="by_step"), prompt, row("2 + 2?", "four"))
        assert (ids[0] == bos) is first
    without = Tokenizer(qwen_tokenizer(), "qwen")
    assert read_one(without, StepLayoutConfig(), PromptConfig(special="bos"), row("2 + 2?", "four"))[0][0] != bos


def test_what_a_tokenizer_puts_at_an_end_stays_out(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("word_piece")
    steps = StepLayoutConfig(tokenize="by_step")
    ids, _, _ = read_one(tokenizer, steps, PromptConfig(template="{prompt}"), row("user tool", "the answer"))
    assert tokenizer.hf.convert_ids_to_tokens(ids).count("[SEP]") == 0
    assert tokenizer.hf.convert_ids_to_tokens(ids)[0] == "[CLS]"


# --- turns -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["chatml", "trimming"])
@pytest.mark.parametrize("prompt", [TEMPLATE, PromptConfig(template="{prompt} ")])
def test_a_turn_per_step(prompt: PromptConfig, template: str, make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("byte_level", template)
    text, before, lasts, answers = "", [], [], []
    for step in ["2 + 2? Two and", "four é", "end."]:
        text += f"<|im_start|>user\n{step}"
        lasts.append(len(tokenizer.hf(text)["input_ids"]) - 1)
        text += "<|im_end|>\n<|im_start|>assistant\n"
        before.append(len(tokenizer.hf(text)["input_ids"]) - 1)
        text += "step"
        answers.append(len(tokenizer.hf(text)["input_ids"]) - 1)
        text += "<|im_end|>\n"
    ids = tokenizer.hf(text)["input_ids"]
    for read, wanted in (("before_separator", before), ("separator", answers), ("last_token_of_step", lasts)):
        steps = StepLayoutConfig(separator="step", layout="turn_per_step", read=read)  # type: ignore[arg-type] # a literal
        assert read_one(tokenizer, steps, prompt) == (ids, wanted, ENDS)


def test_the_text_may_hold_what_answers_it(make_tokenizer: MakeTokenizer) -> None:
    steps = StepLayoutConfig(separator="+", layout="turn_per_step", read="separator")
    ids, positions, ends = read_one(make_tokenizer(), steps, asked=row(USER, says("1 + 1\n\n+")))
    tokens = make_tokenizer().hf.convert_ids_to_tokens(ids)
    assert [(tokens[t], tokens[t + 1]) for t in positions] == [("+", "<|im_end|>")] * 2
    assert ends == [7, 8]


# --- prompts ---------------------------------------------------------------------------------------------


def test_braces_of_a_prompt_stay(make_tokenizer: MakeTokenizer) -> None:
    asked = row(r"\boxed{x} {0} {prompt}", "four")
    ids, _, _ = read_one(make_tokenizer(), StepLayoutConfig(), PLAIN, asked)
    assert make_tokenizer().hf.decode(ids) == "Q: \\boxed{x} {0} {prompt}\nA:four"


def test_a_system_message_is_left_out_of_a_plain_prompt(make_tokenizer: MakeTokenizer) -> None:
    asked = row([{"role": "system", "content": "Be brief."}, *USER], says(TEXT))
    assert read_one(make_tokenizer(), StepLayoutConfig(), PLAIN, asked) == read_one(
        make_tokenizer(), StepLayoutConfig(), PLAIN
    )


@pytest.mark.parametrize(
    ("prompt", "steps"),
    [
        (PLAIN, StepLayoutConfig()),
        (PLAIN, StepLayoutConfig(tokenize="by_step")),
        (TEMPLATE, StepLayoutConfig(separator="+", layout="turn_per_step")),
    ],
)
def test_other_turns_have_no_place(
    prompt: PromptConfig, steps: StepLayoutConfig, make_tokenizer: MakeTokenizer
) -> None:
    for asked in (
        row([*USER, *says("4"), *USER], says("four")),
        row([], says("four")),
        row(USER, [*says("four"), *USER, *says("five")]),
    ):
        with pytest.raises(RowRejected) as caught:
            read_one(make_tokenizer(), steps, prompt, asked)
        assert caught.value.code == "template_error"


def test_steps_of_several_messages_in_a_chat(make_tokenizer: MakeTokenizer) -> None:
    several = [*says("a\n\nb"), {"role": "user", "content": "more\n\nplease"}, *says("c")]
    steps = StepLayoutConfig(separator="<sep>", read="separator")
    assert read_one(make_tokenizer(), steps, asked=row(USER, several))[2] == [3, 4, 5]


def test_turns_of_strings() -> None:
    strings = row("2 + 2?", "four", "five")
    turned = as_prompted(strings, PromptConfig(strings="turns", system="Be brief."))
    assert turned.prompt == [{"role": "system", "content": "Be brief."}, *USER]
    assert [c.content for c in turned.completions] == [says("four"), says("five")]
    assert as_prompted(strings, PromptConfig(system="Be brief.")) == strings
    assert as_prompted(row(USER, says("four")), PromptConfig(strings="turns")) == row(USER, says("four"))


def test_a_system_message_is_added_where_there_is_none() -> None:
    plain = row(USER, says("four"))
    assert with_system(plain, None) == plain
    assert with_system(plain, "Be brief.").prompt == [{"role": "system", "content": "Be brief."}, *USER]
    own = row([{"role": "system", "content": "Own."}, *USER], says("four"))
    assert with_system(own, "Be brief.") == own


# --- rows that cannot be read ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [StepLayoutConfig(), StepLayoutConfig(tokenize="by_step"), StepLayoutConfig(separator="+", layout="turn_per_step")],
)
def test_nothing_written(steps: StepLayoutConfig, make_tokenizer: MakeTokenizer) -> None:
    with pytest.raises(RowRejected) as caught:
        read_one(make_tokenizer(), steps, asked=row(USER, says("")))
    assert caught.value.code == "empty_response"


def test_reading_before_the_first_token(make_tokenizer: MakeTokenizer) -> None:
    steps = StepLayoutConfig(tokenize="by_step", back=2)
    ids, positions, _ = read_one(make_tokenizer(), steps, TEMPLATE, row("Q", "one two"))
    assert positions == [len(ids) - 3]
    with pytest.raises(RowRejected, match="first step's reward would be read before") as caught:
        read_one(make_tokenizer(), steps, TEMPLATE, row("Q", "a"))
    assert caught.value.code == "tokens_uncovered"


ALL_STEPS = [
    StepLayoutConfig(split="\n"),
    StepLayoutConfig(split="\n", separator="<sep>", read="separator"),
    StepLayoutConfig(split="\n", separator="<sep>", read="before_separator"),
    StepLayoutConfig(split="\n", separator="\n", tokenize="by_step", read="separator"),
    StepLayoutConfig(split="\n", empty="keep", separator="\n", tokenize="by_step", read="before_separator"),
    StepLayoutConfig(split="\n", separator="+", layout="turn_per_step", read="before_separator"),
]


@pytest.mark.parametrize("prompt", [TEMPLATE, PromptConfig(template="{prompt} ")], ids=["chat", "plain"])
@pytest.mark.parametrize("steps", ALL_STEPS, ids=str)
def test_any_text_is_covered_or_rejected(
    steps: StepLayoutConfig, prompt: PromptConfig, any_tokenizer: Tokenizer
) -> None:
    @given(text=st.text("ab +.\n\té👩\u200d\u3000e\u0301ﬁ", min_size=1, max_size=12))
    def check(text: str) -> None:
        try:
            (reading,) = encode_steps(row(USER, says(text)), any_tokenizer, prompt, steps)
        except RowRejected:
            assert any_tokenizer.name != "byte_level" or not text.strip()  # it has a token for everything
            return
        covers(reading, text)

    check()


def covers(reading: Reading, text: str) -> None:
    (request,) = reading.requests
    ends = reading.span_end.tolist()
    assert ends == sorted(set(ends))
    assert ends[0] > 0
    assert ends[-1] == len(text.encode())
    assert len(request.read) == len(ends)
    assert request.read == sorted(request.read)
    assert request.read[0] >= 0
    assert request.read[-1] < len(request.ids)
