from __future__ import annotations

from collections.abc import Callable

import numpy as np

from asr_data.text.tokenizer import Tokenizer
from asr_data.training.config import SourceConfig
from asr_data.training.encode import encode_examples
from asr_data.training.examples import TrainingExample, examples_of
from asr_data.types import Completion, Label, Row, Text

USER = [{"role": "user", "content": "How much?"}]
OPEN = "<|im_start|>user\nHow much?<|im_end|>\n<|im_start|>assistant\n"


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def labelled(text: str, *labels: Label) -> TrainingExample:
    row = Row(0, {}, USER, (Completion("completion", says(text), True, labels),))
    (example,) = examples_of(row, SourceConfig(input="x"), verdicts=False)
    return example


def pair(chosen: Text, rejected: Text, prompt: Text = USER) -> TrainingExample:
    completions = (Completion("chosen", chosen, True), Completion("rejected", rejected, False))
    (example,) = examples_of(Row(0, {}, prompt, completions), SourceConfig(input="x"), verdicts=False)
    return example


def test_a_pair(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer()
    (unit,), skipped = encode_examples([pair(says("Hi"), says("No way"))], tokenizer, 100, "demo")
    assert not skipped
    assert (unit.source, unit.goal) == ("demo pairs", "pair")
    chosen, rejected = unit.sequences
    prompt = tokenizer.hf(OPEN)["input_ids"]
    assert chosen.ids == prompt + tokenizer.hf("Hi<|im_end|>\n")["input_ids"]
    assert rejected.ids == prompt + tokenizer.hf("No way<|im_end|>\n")["input_ids"]
    assert chosen.first == rejected.first == len(prompt)
    assert len(chosen.target) == 4
    assert np.isnan(chosen.target).all()
    assert unit.tokens == len(chosen.ids) + len(rejected.ids)


def test_strings_are_turns(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer()
    plain, turns = pair("Hi", "No way", "How much?"), pair(says("Hi"), says("No way"))
    (first, second), _ = encode_examples([plain, turns], tokenizer, 100, "demo")
    assert [s.ids for s in first.sequences] == [s.ids for s in second.sequences]


def test_a_verdict(make_tokenizer: Callable[..., Tokenizer]) -> None:
    row = Row(0, {}, USER, (Completion("completion", says("Hi"), False),))
    (example,) = examples_of(row, SourceConfig(input="x"), verdicts=True)
    (unit,), _ = encode_examples([example], make_tokenizer(), 100, "demo")
    assert (unit.source, unit.goal, unit.preferred) == ("demo verdicts", "verdict", False)


def test_a_token_takes_the_label_of_its_last_byte(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer()
    text = "Two four 😀"  # Two| four| |four bytes
    assert tokenizer.hf.convert_ids_to_tokens(tokenizer.hf(text)["input_ids"])[:3] == ["Two", "Ġfour", "Ġ"]
    # The space before "four" is outside of the label, and so is the emoji's last byte.
    example = labelled(text, Label(0, 3, 1.0), Label(4, 8, 0.0), Label(9, 12, 0.25))
    (unit,), _ = encode_examples([example], tokenizer, 100, "demo")
    nan = float("nan")
    wanted = [1.0, 0.0, nan, 0.25, 0.25, 0.25, nan, nan, nan]  # … the last byte, end of turn, line break
    np.testing.assert_array_equal(unit.sequences[0].target, np.array(wanted, dtype=np.float32))
    assert unit.source == "demo"


def test_what_cannot_be_used_is_counted(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer("nfkc")
    examples = [
        labelled("Hi", Label(0, 2, 1.0)),
        labelled("x²", Label(0, 1, 1.0)),
        labelled("Two", Label(0, 1, 1.0)),  # one token, which has the label of its last byte
        labelled("Hi " * 99, Label(0, 2, 1.0)),
        pair(says("Hi"), says("No " * 99)),
    ]
    units, skipped = encode_examples(examples, tokenizer, 60, "demo")
    assert len(units) == 1
    assert skipped == {"tokenizer_alters_text": 1, "no_label_on_a_token": 1, "too_long": 2}
