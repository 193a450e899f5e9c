from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from asr_data.errors import InputError
from asr_data.view.client.rows import colour_spread, page_rows
from asr_data.view.decisions import Decision
from asr_data.view.gold import gold_reader
from asr_data.view.model import GoldSpan, ResponseView, RowView, row_views
from asr_data.view.reading import AnnotatedRow, first_rows


def made(annotated: Any, tokenizer: Any, gold: str | None = None) -> list[dict[str, Any]]:
    rows = first_rows(annotated, 99)
    views = row_views(annotated, rows, gold_reader(annotated, gold))
    found = page_rows(views, rows, tokenizer, annotated.manifest.prefix)
    return json.loads(json.dumps(found, allow_nan=False))


def pieces(unit: Any) -> Iterator[tuple[str, int]]:
    if isinstance(unit, str):
        yield unit, -1
    elif isinstance(unit, list):
        yield from ((text, gold) for text, gold in unit)


def text_of(side: dict[str, Any]) -> str:
    return "".join(text for unit in side["texts"] for text, _ in pieces(unit))


@pytest.mark.parametrize("kind", ["byte_level", "byte_level_nfc", "nfkc", "metaspace_bpe", "metaspace_unigram"])
def test_texts_of_tokens_are_the_response(annotate: Any, make_tokenizer: Any, kind: str) -> None:
    """One text for each token; together they are what the assistant wrote, whatever the vocabulary."""
    tokenizer = make_tokenizer(kind)
    annotated = annotate(tokenizer=tokenizer)
    rows = first_rows(annotated, 99)
    page = made(annotated, tokenizer)
    assert len(page) == annotated.manifest.counts.annotated >= 2
    for one, row in zip(rows, page, strict=True):
        for side in row["sides"]:
            (message,) = one.columns[side["side"]]
            assert text_of(side) == message["content"]
            assert len(side["texts"]) == len(one.columns[f"{side['side']}_ids"])


def test_a_character_of_several_tokens_belongs_to_the_last(annotate: Any, make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer("byte_level")
    (row,) = [row for row in made(annotate(), tokenizer) if row["row"] == 1]
    texts = row["sides"][0]["texts"]
    place = next(index for index, text in enumerate(texts) if isinstance(text, str) and "🙂" in text)
    assert texts[place - 1] == ""  # the emoji has four bytes, and this vocabulary no token for them together


def test_what_the_template_wrote_is_a_mark(annotate: Any, make_tokenizer: Any) -> None:
    side = made(annotate(), make_tokenizer())[0]["sides"][0]
    assert side["texts"][-2:] == [{"mark": "<|im_end|>"}, {"mark": "↵"}]
    assert side["mask"][-2:] == "11"


def test_columns_are_as_they_stand(annotate: Any, make_tokenizer: Any) -> None:
    annotated = annotate(prefix="x_")
    (one,) = first_rows(annotated, 1)
    side = made(annotated, make_tokenizer())[0]["sides"][1]
    assert side["starts"] == one.columns["x_rejected_seg_start"]
    assert side["rewards"] == pytest.approx(one.columns["x_rejected_token_reward"], rel=1e-5)
    assert [bit == "1" for bit in side["segKeep"]] == one.columns["x_rejected_seg_keep"]
    assert [bit == "1" for bit in side["mask"]] == one.columns["x_rejected_mask"]


def test_without_a_tokenizer_units_are_segments(annotate: Any) -> None:
    annotated = annotate()
    side = made(annotated, None)[0]["sides"][0]
    assert len(side["texts"]) == len(side["starts"])
    assert text_of(side) == "The answer is four. That is all there is."


def test_gold_cuts_tokens_where_it_begins(annotate: Any, make_tokenizer: Any) -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": "Is it?"}],
            "chosen": [{"role": "assistant", "content": "It is so."}],
            "rejected": [{"role": "assistant", "content": "It is not so."}],
            "faults": [{"start": 4, "end": 9, "label": 0.25}],
        }
    ]
    annotated = annotate(rows)
    for tokenizer in (make_tokenizer(), None):
        chosen, rejected = made(annotated, tokenizer, "rejected=faults")[0]["sides"]
        assert (chosen["gold"], rejected["gold"]) == ([], [["0.25", 0.25, 1]])
        marked = [text for unit in rejected["texts"] for text, gold in pieces(unit) if gold == 0]
        assert "".join(marked) == "s not"
        assert text_of(rejected) == "It is not so."


def test_what_a_terminal_would_obey_is_visible(annotate: Any, make_tokenizer: Any) -> None:
    texts = ["It \u202eis so.", "Now \x1b[2J it is."]
    rows = [
        {
            "prompt": [{"role": "user", "content": "a\x07b"}],
            "chosen": [{"role": "assistant", "content": texts[0]}],
            "rejected": [{"role": "assistant", "content": texts[1]}],
        }
    ]
    (row,) = made(annotate(rows), make_tokenizer())
    assert row["prompt"] == "user: a<U+0007>b"
    assert [text_of(side) for side in row["sides"]] == ["It <U+202E>is so.", "Now <U+001B>[2J it is."]


def test_another_tokenizer_is_noticed(annotate: Any, make_tokenizer: Any) -> None:
    annotated = annotate(tokenizer=make_tokenizer("byte_level"))
    with pytest.raises(InputError, match="tokenizer 'metaspace_bpe' gives other tokens than chosen holds"):
        made(annotated, make_tokenizer("metaspace_bpe"))


def test_colours_reach_to_the_95th_percentile_of_distances_from_the_baseline() -> None:
    def one(baseline: float | None, rewards: list[float | None]) -> tuple[RowView, AnnotatedRow]:
        response = ResponseView("chosen", (), 0.0, 0, 0, decision=Decision(baseline), gold=(GoldSpan(0, 1, 0.0, ""),))
        view = RowView(0, "p", (response,))
        return view, AnnotatedRow(0, None, {"x_chosen_token_reward": rewards})  # type: ignore[arg-type] # not looked at

    views, rows = zip(one(1.0, [1.0 + step for step in range(21)]), one(None, [None]), strict=True)
    assert colour_spread(views, rows, "x_") == pytest.approx(19.0)  # of 0, 1, …, 20
    views, rows = zip(one(1.0, [1.0, 1.0]), strict=True)
    assert colour_spread(views, rows, "x_") == 1.0
