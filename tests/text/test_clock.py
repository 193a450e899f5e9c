"""Templates are told one date, end in time, and are looked at before anything is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from asr_data.errors import ConfigError, CorruptFileError
from asr_data.text.clock import noted_date, reads_clock, settle_date, today
from asr_data.text.probe import check_template
from asr_data.text.template import apply_template
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Completion, Row

ASK = [{"role": "user", "content": "a"}]
ROW = Row(0, {}, ASK, (Completion("completion", [{"role": "assistant", "content": "b"}], preferred=True),))
DATED = "{% for m in messages %}{{ strftime_now('%d.%m.%y %H:%M') }}{{ m.content }}{% endfor %}"
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@contextmanager
def with_template(tokenizer: Tokenizer, template: str | None) -> Iterator[Tokenizer]:
    before, tokenizer.hf.chat_template = tokenizer.hf.chat_template, template
    try:
        yield tokenizer
    finally:
        tokenizer.hf.chat_template, tokenizer.date = before, None


def test_the_date_is_the_one_that_was_settled(make_tokenizer: Callable[..., Tokenizer]) -> None:
    with with_template(make_tokenizer("byte_level", "chatml"), DATED) as tokenizer:
        assert reads_clock(tokenizer.hf)
        assert settle_date([None, tokenizer], date(2020, 2, 29)) == date(2020, 2, 29)
        assert apply_template(tokenizer, ASK, {}, generate=False) == "29.02.20 00:00a"
        # Outside of our renderings nothing changes.
        assert not tokenizer.hf.apply_chat_template(ASK, tokenize=False).startswith("29.02.20")
        tokenizer.date = None
        assert settle_date([tokenizer], None) == today(tokenizer.hf)


def test_templates_without_a_date_have_none(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer("byte_level", "chatml")
    assert settle_date([tokenizer, None], date(2020, 1, 1)) is None
    assert tokenizer.date is None


def test_the_date_in_the_notes_of_a_row() -> None:
    assert noted_date(["prompt_merged"]) is None
    assert noted_date(["prompt_merged", "template_date:2026-01-31"]) == date(2026, 1, 31)
    with pytest.raises(CorruptFileError, match="template_date:soon holds no date"):
        noted_date(["template_date:soon"])


def test_a_template_that_never_ends(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer("byte_level", "chatml")
    with with_template(tokenizer, ENDLESS), pytest.raises(ConfigError, match=r"did not end within 0\.1 seconds"):
        apply_template(tokenizer, ASK, {}, generate=False, seconds=0.1)
    assert apply_template(tokenizer, ASK, {}, generate=False, seconds=0.1).startswith("<|im_start|>user")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "has no chat template, and the rows are messages"),
        ("{% for m in messages %}{{ m.content ", "takes none of the first 1 rows.*unexpected end of template"),
        ("{{ raise_exception('not today') }}", "takes none of the first 1 rows.*not today"),
        ("{{ range(1, 99999) | random }}", "gives a different text each time"),
    ],
)
def test_what_is_known_before_a_model_is_loaded(
    template: str | None, message: str, make_tokenizer: Callable[..., Tokenizer]
) -> None:
    with (
        with_template(make_tokenizer("byte_level", "chatml"), template) as tokenizer,
        pytest.raises(ConfigError, match=message),
    ):
        check_template(tokenizer, [ROW])


def test_texts_need_no_template(make_tokenizer: Callable[..., Tokenizer]) -> None:
    with with_template(make_tokenizer("byte_level", "chatml"), None) as tokenizer:
        check_template(tokenizer, [Row(0, {}, "a", (Completion("completion", "b", preferred=True),))])


GROWING = (
    "{% set ns = namespace(all=[]) %}"
    "{% for i in range(99999) %}{% set ns.all = ns.all + ['x' * 1000000 ~ i] %}{% endfor %}"
)
"""Some 100 GB, if it were left to run."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell how much memory is taken")
def test_a_template_that_takes_all_memory_is_ended(
    make_tokenizer: Callable[..., Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr_data.text.clock.MEMORY", 2**27)
    tokenizer = make_tokenizer("byte_level", "chatml")
    with with_template(tokenizer, GROWING), pytest.raises(ConfigError, match="bytes of memory for one row"):
        apply_template(tokenizer, ASK, {}, generate=False)
    assert apply_template(tokenizer, ASK, {}, generate=False).startswith("<|im_start|>user")
