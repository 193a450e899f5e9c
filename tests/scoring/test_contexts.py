"""What a model reads before a response, by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from asr_data.errors import ConfigError, InputError, RowRejected
from asr_data.pairs import PairConfig
from asr_data.rows import Layout, detect, normalise_all
from asr_data.rows.normalise import normalise
from asr_data.scoring.config import ContrastConfig, ImplicitConfig, LogProbabilityConfig, TokenHeadConfig
from asr_data.scoring.context_columns import check_columns
from asr_data.scoring.context_template import LONGEST, needs_of, render
from asr_data.scoring.contexts import Contexts
from asr_data.scoring.elsewhere import with_elsewhere
from asr_data.types import Completion, Row, Text

USER = {"role": "user", "content": "Why?"}
SYSTEM = {"role": "system", "content": "Be brief."}


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def pair(asked: Text = (USER,), good: Text | None = None, bad: Text | None = None, **columns: Any) -> Row:
    chosen = Completion("chosen", says("Because.") if good is None else good, preferred=True)
    rejected = Completion("rejected", says("No idea.") if bad is None else bad, preferred=False)
    return Row(0, columns, asked if isinstance(asked, str) else list(asked), (chosen, rejected))


def views(row: Row, *contexts: Any, sides: Any = "both", conversations: bool = True) -> list[Any]:
    """The prompts that each response is read after; None where it is unknown."""
    parsed = [LogProbabilityConfig(context=context).context for context in contexts]
    found = Contexts(parsed, sides, conversations=conversations).views(row)
    return [None if one is None else [view.prompt for view in one] for one in found]


def own(*contents: str) -> list[dict[str, str]]:
    roles = ["system", "user"][-len(contents) :]
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]


# --- the named contexts ----------------------------------------------------------------------------------


def test_the_better_answer_is_shown_to_the_other_side_alone() -> None:
    chosen, rejected = views(pair(), "better-answer")
    assert chosen is None  # nothing is better than the preferred answer
    [[message]] = rejected
    assert message["role"] == "user"
    assert message["content"].startswith("Why?\n\n")
    assert "\n\nBecause.\n\n" in message["content"]


def test_two_contexts_of_the_same_response() -> None:
    _, rejected = views(pair(), "better-answer", "prompt")
    assert [len(prompt) for prompt in rejected] == [1, 1]
    assert rejected[1] == [USER]
    (only,) = [one for one in Contexts(("prompt", "prompt"), "rejected", conversations=True).views(pair()) if one]
    assert [view.completions[0].content for view in only] == [says("No idea.")] * 2


def test_good_and_bad_instructions_are_of_the_system() -> None:
    for context in ("good-instruction", "bad-instruction"):
        for side in views(pair([SYSTEM, USER]), context):
            [[system, user]] = side
            assert system["role"] == "system"
            assert system["content"].startswith("Be brief.\n\nAnswer ")
            assert user == USER
    good, bad = (views(pair(), f"{which}-instruction")[0][0][0]["content"] for which in ("good", "bad"))
    assert good != bad


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("It is wrong.", "It is wrong."),
        (7, "7"),
        (0, "0"),
        (False, "False"),
        (["One.", None, "Two."], "One.\nTwo."),
        (says("Said."), "Said."),
    ],
)
def test_a_column(value: Any, shown: str) -> None:
    for side in views(pair(notes=value), "column:notes"):
        assert side[0][0]["content"].endswith(f"\n\n{shown}")


@pytest.mark.parametrize("value", [None, "", " \n", []])
def test_an_empty_column_shows_nothing(value: Any) -> None:
    with pytest.raises(RowRejected, match="column:notes"):
        views(pair(notes=value), "column:notes")


def test_a_column_for_each_side() -> None:
    row = pair(chosen_notes="", rejected_notes="Wrong.")
    chosen, rejected = views(row, "column:{side}_notes")
    assert chosen is None
    assert rejected[0][0]["content"].endswith("Wrong.")


def test_a_column_inside_another() -> None:
    assert views(pair(meta={"notes": "Deep."}), "column:meta.notes")[0][0][0]["content"].endswith("Deep.")


@pytest.mark.parametrize(
    ("value", "code"), [({"a": 1}, "wrong_type"), ("a\0b", "nul_byte"), ("\ud800", "invalid_unicode")]
)
def test_columns_that_cannot_be_shown(value: Any, code: str) -> None:
    with pytest.raises(RowRejected) as error:
        views(pair(notes=value), "column:notes")
    assert error.value.code == code


# --- another row -----------------------------------------------------------------------------------------


def rows_with(prompts: str) -> list[Row]:
    return [
        replace(
            pair(),
            index=at,
            prompt=[{"role": "user", "content": prompt}],
            completions=pair(good=says(f"A{at}")).completions,
        )
        for at, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize(
    ("prompts", "beside"),
    [
        ("abcd", [2, 3, 0, 1]),
        ("abc", [1, 2, 0]),
        ("ab", [1, 0]),
        ("aab", [2, 2, 0]),
        ("aabb", [2, 3, 0, 1]),
        ("baaaa", [2, 0, 0, 0, 0]),
        ("aaab", [3, 3, 3, 1]),
        ("aa", [None, None]),
        ("a", [None]),
        ("", []),
    ],
)
def test_which_row_is_beside(prompts: str, beside: list[int | None]) -> None:
    found = with_elsewhere(rows_with(prompts))
    assert [None if row.elsewhere is None else row.elsewhere.index for row in found] == beside
    for row in found:
        assert row.elsewhere is None or row.elsewhere.prompt != row.prompt


def test_the_other_row_s_best_answer_is_shown_to_both_sides() -> None:
    first = with_elsewhere(rows_with("ab"))[0]
    for side in views(first, "other-row"):
        assert "\n\nA1\n\n" in side[0][0]["content"]


def test_a_row_by_itself_has_none_beside_it() -> None:
    with pytest.raises(RowRejected) as error:
        views(with_elsewhere(rows_with("a"))[0], "other-row")
    assert error.value.code == "no_context"


# --- templates of one's own ------------------------------------------------------------------------------


def test_a_template_sees_the_row() -> None:
    text = "{{ prompt }}|{{ other }}|{{ others | join('+') }}|{{ verdict }}|{{ notes }}|"
    text += "{{ row['a b'] }}|{{ row.prompt }}"
    row = replace(pair(notes="N", prompt="column", **{"a b": 3}), between=(says("Perhaps."), "Maybe."))
    chosen, rejected = views(row, own(text))
    assert chosen == [own("Why?|No idea.|Perhaps.+Maybe.+No idea.|chosen|N|3|column")]
    assert rejected == [own("Why?|Because.|Because.+Perhaps.+Maybe.|rejected|N|3|column")]


def test_what_is_shown_under_a_condition_may_be_missing() -> None:
    text = "{{ prompt }}{% if notes %} ({{ notes }}){% endif %}{{ ' ' if other else '!' }}"
    assert views(pair(notes=None), own(text)) == [[own("Why? ")], [own("Why? ")]]
    assert needs_of(text).columns == ("notes",)
    assert (needs_of(text).needed, needs_of(text).variables) == (set(), {"prompt"})


def test_what_is_shown_in_any_case_must_be_there() -> None:
    alone = Row(0, {}, [USER], (Completion("completion", says("Yes."), preferred=False),))
    with pytest.raises(RowRejected) as error:
        views(alone, own("{{ prompt }} {{ other }}"))
    assert error.value.code == "no_context"
    assert views(alone, own("{{ prompt }} {{ verdict }}")) == [[own("Why? rejected")]]


def test_several_turns_and_system_messages_stay() -> None:
    earlier = [SYSTEM, USER, *says("What?"), {"role": "user", "content": "Why not?"}]
    [[prompt], _] = views(pair(earlier), own("Be kind.", "{{ prompt }} Say it."))
    assert prompt == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        *earlier[1:3],
        {"role": "user", "content": "Why not? Say it."},
    ]


def test_what_follows_the_last_user_message_stays() -> None:
    called = [USER, {"role": "assistant", "content": "", "tool_calls": []}, {"role": "tool", "content": "42"}]
    [[prompt], _] = views(pair(called), own("{{ prompt }}!"))
    assert [message["content"] for message in prompt] == ["Why?!", "", "42"]


def test_a_prompt_without_a_user_message() -> None:
    with pytest.raises(RowRejected) as error:
        views(pair([SYSTEM]), "good-instruction")
    assert error.value.code == "no_context"


def test_texts_become_turns_where_the_model_has_a_chat_template() -> None:
    row = pair("Why? ", "Because.", "No idea.")
    contexts = Contexts(("better-answer", "prompt"), "both", conversations=True)
    shown = contexts.views(row)[1]
    assert shown is not None
    assert [view.prompt[0]["role"] for view in shown] == ["user", "user"]  # type: ignore[index] # messages
    assert [view.completions[0].content for view in shown] == [says("No idea.")] * 2
    assert Contexts(("prompt",), "rejected", conversations=True).views(row)[1][0].prompt == "Why? "  # type: ignore[index] # it is known


def test_texts_stay_texts_where_it_has_none() -> None:
    row = pair("Why? ", "Because.", "No idea.")
    assert views(row, own("Be kind.", "So: {{ prompt }}"), conversations=False)[0] == ["Be kind.\n\nSo: Why? "]


# --- sides and answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("sides", "known"), [("both", [1, 1]), ("chosen", [1, 0]), ("rejected", [0, 1])])
def test_sides(sides: str, known: list[int]) -> None:
    assert [view is not None for view in views(pair(), "prompt", sides=sides)] == [bool(one) for one in known]


def test_a_row_of_a_side_that_is_not_spoken_of() -> None:
    alone = Row(0, {}, [USER], (Completion("completion", says("Yes."), preferred=True),))
    with pytest.raises(RowRejected, match="reads rejected responses") as error:
        views(alone, "prompt", sides="rejected")
    assert error.value.code == "no_context"


@pytest.mark.parametrize(
    ("role", "numbers"), [("scores", [2.0, 9.0, 1.0, 2.0]), ("ranks", [2, 1, 3, 2]), ("scores", [3.0, 4.0, 1.0, 3.0])]
)
def test_four_answers_best_first(role: str, numbers: list[float]) -> None:
    texts = ["second", "best", "worst", "third"]
    record = {"prompt": "Why?", "completions": texts, role: numbers}
    layout = detect(pa.Table.from_pylist([record]).schema, [record])
    row = normalise(0, record, layout)
    assert row.between == ("second", "third")
    chosen, rejected = views(row, own("{{ others | join(' ') }}"))
    assert chosen == [own("second third worst")]
    assert rejected == [own("best second third")]


def test_four_conversations() -> None:
    record = {
        "prompt": [SYSTEM, USER],
        "completions": [[SYSTEM, USER, *says(text)] for text in ("good", "so-so", "bad")],
        "scores": [3.0, 2.0, 1.0],
    }
    layout = detect(pa.Table.from_pylist([record]).schema, [record])
    row = normalise(0, record, layout)
    assert row.between == (says("so-so"),)


def test_an_answer_of_white_space_is_none() -> None:
    row = replace(pair(), between=("  ",))
    assert views(row, own("{{ others | length }}")) == [[own("1")], [own("1")]]


# --- templates are programs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{% set a = 1 %}{{ a }}",
        "{{ prompt ~ prompt }}",
        "{% macro a() %}{% endmacro %}",
        "{% include 'x' %}",
        "{{ prompt | center(9) }}",
        "{{ prompt",
        "{% if %}",
    ],
)
def test_templates_that_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="the template"):
        ContrastConfig(context=own(text))


@pytest.mark.parametrize(
    "text",
    [
        "{{ prompt * 99 }}",
        "{{ 9 ** 99 }}",
        "{{ '%99d' % 1 }}",
        "{{ prompt + prompt }}",
        "{{ 'a'.format(1) }}",
        "{{ prompt.replace('W', 'WW') }}",
        "{{ prompt.__class__.__mro__ }}",
        "{{ others.append(1) }}",
        "{{ 1 / 0 }}",
        "{{ row.nothing.at_all }}",
    ],
)
def test_templates_that_fail_reject_the_row(text: str) -> None:
    with pytest.raises(RowRejected) as error:
        render(text, {"prompt": "Why?", "others": [], "row": {}})
    assert error.value.code == "context_error"


def test_a_template_that_gives_too_long_a_text() -> None:
    with pytest.raises(RowRejected) as error:
        render("{% for i in range(99999) %}{{ prompt }}{% endfor %}", {"prompt": "x" * 1000})
    assert error.value.code == "too_long"
    with pytest.raises(RowRejected, match="a filter gives more"):
        render("{{ others | join(prompt) | length }}", {"prompt": "x" * (LONGEST // 4), "others": ["a"] * 9})


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("answer", "there is no context 'answer'"),
        ("column:", "there is no context"),
        ([], "a user message last"),
        ([{"role": "system", "content": "x"}], "a user message last"),
        ([{"role": "user", "content": "x"}, {"role": "system", "content": "x"}], "a user message last"),
        ([{"role": "tool", "content": "x"}], "is 'tool': expected text or a list of ContextMessage"),
    ],
)
def test_contexts_that_are_none(context: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LogProbabilityConfig(context=context)


# --- pairs of a row --------------------------------------------------------------------------------------


def pairs_of(index: int, prompt: str, *answers: str) -> list[Row]:
    """All pairs of answers that are given best first."""
    columns: dict[Any, str] = {"prompt": "prompt", "completions": "completions", "ranks": "ranks"}
    layout = Layout(kind="ranked_completions", columns=columns).with_pairs(PairConfig(rule="all"))
    record = {
        "prompt": [own(prompt)[0]],
        "completions": [says(one) for one in answers],
        "ranks": [*range(len(answers))],
    }
    return [row for row in normalise_all(index, record, layout) if isinstance(row, Row)]


def test_every_pair_sees_its_own_other_answer_and_all_others_best_first() -> None:
    template = own("{{ other }} | {{ others | join(' ') }}")
    seen = {row.pair: [one[0][0]["content"] for one in views(row, template)] for row in pairs_of(0, "Q", *"ABCD")}
    assert seen == {
        0: ["B | B C D", "A | A C D"],
        1: ["C | B C D", "A | A B D"],
        2: ["C | A C D", "B | A B D"],
        3: ["D | B C D", "A | A B C"],
        4: ["D | A C D", "B | A B C"],
        5: ["D | A B D", "C | A B C"],
    }


def test_the_pairs_of_a_row_have_the_same_other_row_beside_them() -> None:
    rows = [*pairs_of(0, "p", *"AB"), *pairs_of(1, "q", *"CDE"), *pairs_of(2, "r", *"FGH")]
    found = with_elsewhere(rows)
    beside = [(row.elsewhere.index, row.elsewhere.completions[0].content) for row in found if row.elsewhere]
    # Of three rows the one beside is the next, in a circle; it is shown by its first pair.
    assert beside == [(1, says("C"))] + 3 * [(2, says("F"))] + 3 * [(0, says("A"))]


# --- columns that must be there --------------------------------------------------------------------------


def test_columns_are_checked_before_anything_is_loaded() -> None:
    schema = pa.schema({"prompt": pa.string(), "notes": pa.string(), "meta": pa.struct({"a": pa.int8()})})
    check_columns(["column:notes", "better-answer", "column:meta.a"], ["chosen"], schema)
    with pytest.raises(InputError, match=r"the column 'feedback', which is missing; there are prompt, notes, meta"):
        check_columns(["column:feedback"], ["chosen"], schema)
    with pytest.raises(InputError, match="'rejected_notes', which is missing"):
        check_columns(["column:{side}_notes"], ["rejected"], schema)
    with pytest.raises(InputError, match=r"'meta' is struct<a: int8>; a context shows texts, numbers"):
        check_columns(["column:meta"], ["chosen"], schema)
    template = LogProbabilityConfig(context=own("{{ prompt }} {{ rubric }}")).context
    with pytest.raises(InputError, match="'rubric', which is missing"):
        check_columns([template], ["chosen"], schema)


@pytest.mark.parametrize("config", [ImplicitConfig, TokenHeadConfig])
def test_defaults_are_left_out_so_that_fingerprints_stay(config: Callable[..., Any]) -> None:
    assert {"context", "sides", "against"}.isdisjoint(config().model_dump(mode="json"))
    assert config(context="other-row", sides="chosen").model_dump(mode="json")["context"] == "other-row"
