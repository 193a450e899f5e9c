from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asr_data.errors import RowRejected
from asr_data.response import response_text
from asr_data.text.rendering import render_messages
from asr_data.text.template import Rendered, render_strings
from asr_data.text.tokenizer import Tokenizer

PROMPT = [{"role": "user", "content": "How much is 2 + 2?"}]


def says(*contents: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": content} for content in contents]


def contents_of(rendered: Rendered) -> list[str]:
    return [rendered.text[piece.start : piece.end] for piece in rendered.pieces]


@pytest.fixture
def render(make_tokenizer: Callable[..., Tokenizer]) -> Callable[..., Rendered]:
    def call(template: str, completion: list[dict[str, Any]], prompt: list[dict[str, Any]] = PROMPT) -> Rendered:
        return render_messages(make_tokenizer("byte_level", template), prompt, completion, {})

    return call


def test_the_content_is_found_where_it_is(render: Callable[..., Rendered]) -> None:
    rendered = render("chatml", says("  Four.\n"))
    assert rendered.text == (
        "<|im_start|>user\nHow much is 2 + 2?<|im_end|>\n<|im_start|>assistant\n  Four.\n<|im_end|>\n"
    )
    assert contents_of(rendered) == ["  Four.\n"]
    assert rendered.pieces[0].text_start == 0
    assert rendered.response == "  Four.\n"


def test_also_where_the_prompt_says_the_same(render: Callable[..., Rendered]) -> None:
    rendered = render("chatml", says("Four."), [{"role": "user", "content": "Four.<|im_start|>assistant\nFour."}])
    assert rendered.text[rendered.pieces[0].start :] == "Four.<|im_end|>\n"


@pytest.mark.parametrize("template", ["trimming", "trimming_padded"])
@pytest.mark.parametrize("content", ["Four.", " Four.", "Four. ", "\n Four.  ", "Four.\n\n", "\u3000二\u3000"])
def test_a_trimming_template(template: str, content: str, render: Callable[..., Rendered]) -> None:
    rendered = render(template, says(content))
    assert contents_of(rendered) == [content.strip()]
    assert rendered.pieces[0].text_start == content.index(content.strip())
    assert rendered.response == content


def test_several_messages_with_another_speaker_between(render: Callable[..., Rendered]) -> None:
    completion = [*says(" a "), {"role": "user", "content": "user"}, *says("b  ")]
    rendered = render("trimming_padded", completion)
    assert contents_of(rendered) == ["a", "user", "b"]
    assert [piece.assistant for piece in rendered.pieces] == [True, False, True]
    assert rendered.response == " a b  "
    assert [piece.text_start for piece in rendered.pieces if piece.assistant] == [1, 3]


def test_a_thought_put_in_by_the_template_is_not_the_response(render: Callable[..., Rendered]) -> None:
    rendered = render("thinking", says("Four."))
    assert "<think>\n\n</think>\n\nFour." in rendered.text
    assert contents_of(rendered) == ["Four."]


def test_a_message_without_content_has_no_piece(render: Callable[..., Rendered]) -> None:
    completion = [{"role": "assistant", "content": ""}, *says("Four.")]
    assert contents_of(render("chatml", completion)) == ["Four."]


def test_text_that_looks_like_a_sentinel(render: Callable[..., Rendered]) -> None:
    assert contents_of(render("chatml", says("q7Zk0w q7ZkZk0w"))) == ["q7Zk0w q7ZkZk0w"]


def test_a_template_that_changes_the_text(render: Callable[..., Rendered]) -> None:
    with pytest.raises(RowRejected, match="does not hold the messages as they are") as caught:
        render("upper", says("Four."))
    assert caught.value.code == "template_alters_text"


def test_a_template_that_changes_some_texts(render: Callable[..., Rendered]) -> None:
    assert contents_of(render("shouting", says("Four."))) == ["Four."]
    with pytest.raises(RowRejected, match="changes the message 'Four!'") as caught:
        render("shouting", says("Four!"))
    assert caught.value.code == "template_alters_text"


def test_a_template_that_refuses(render: Callable[..., Rendered]) -> None:
    with pytest.raises(RowRejected, match="no system message") as caught:
        render("no_system", says("Four."), [{"role": "system", "content": "Be brief."}, *PROMPT])
    assert caught.value.code == "template_error"


def test_strings_are_closed_once() -> None:
    assert render_strings("2 + 2 = ", "4", "</s>").text == "2 + 2 = 4</s>"
    assert render_strings("2 + 2 = ", "4</s>", "</s>").text == "2 + 2 = 4</s>"
    piece = render_strings("2 + 2 = ", "4", "</s>").pieces[0]
    assert (piece.start, piece.end, piece.text_start) == (8, 9, 0)


def test_response_text_is_what_the_assistant_wrote() -> None:
    assert response_text("as it is ") == "as it is "
    assert response_text([*says("a "), {"role": "tool", "content": "no"}, *says("b")]) == "a b"
    assert response_text([{"role": "assistant", "content": None}, *says("b")]) == "b"
