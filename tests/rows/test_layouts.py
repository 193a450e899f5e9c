from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from asr_data.errors import InputError
from asr_data.rows import Layout, detect, labelled
from asr_data.rows.known_columns import CONVERSATIONS, RESPONSES

TEXT = pa.string()
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
MESSAGES = pa.list_(MESSAGE)
SPOKEN = pa.struct([("from", pa.string()), ("value", pa.string())])
SHAREGPT = pa.list_(SPOKEN)
SPEAKER = pa.struct([("name", pa.string()), ("text", pa.string())])
TEXTS = pa.list_(TEXT)
NUMBERS = pa.list_(pa.float64())
ANSWER = pa.struct([("model", TEXT), ("response", TEXT), ("overall_score", pa.float64()), ("other", pa.int64())])
TRANSCRIPT = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}


def detected(types: dict[str, pa.DataType], records: list[dict[str, Any]] | None = None, **columns: str) -> Layout:
    return detect(pa.schema(list(types.items())), records or [], columns or None)


@pytest.mark.parametrize(
    ("types", "kind", "sides"),
    [
        ({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}, "preference", ("chosen", "rejected")),
        ({"prompt": MESSAGES, "chosen": MESSAGE, "rejected": MESSAGES}, "preference", ("chosen", "rejected")),
        ({"prompt": TEXT, "chosen": MESSAGES, "rejected": MESSAGES}, "preference", ("chosen", "rejected")),
        ({"chosen": MESSAGES, "rejected": MESSAGES}, "preference_implicit_prompt", ("chosen", "rejected")),
        ({"prompt": TEXT, "completion": TEXT, "label": pa.bool_()}, "unpaired", ("completion",)),
        ({"prompt": TEXT, "completion": TEXT, "label": TEXT}, "unpaired", ("completion",)),
        ({"prompt": MESSAGES, "completion": MESSAGES}, "prompt_completion", ("completion",)),
        ({"prompt": TEXT, "chosen": TEXT, "rejected": pa.large_string(), "label": TEXT}, "preference", None),
    ],
)
def test_detected_by_names_and_types(types: dict[str, pa.DataType], kind: str, sides: tuple[str, ...] | None) -> None:
    layout = detected({"id": pa.int64(), **types, "score": pa.float64()})
    assert layout.kind == kind
    assert layout.sides == (sides or ("chosen", "rejected"))


NAMED: list[tuple[dict[str, pa.DataType], str, dict[str, str]]] = [
    (
        {"conversations": SHAREGPT, "chosen": SPOKEN, "rejected": SPOKEN, "system": TEXT},
        "preference",
        {"prompt": "conversations", "chosen": "chosen", "rejected": "rejected", "system": "system"},
    ),
    (
        {"messages": MESSAGES, "chosen": MESSAGE, "rejected": MESSAGE},
        "preference",
        {"prompt": "messages", "chosen": "chosen", "rejected": "rejected"},
    ),
    (  # UltraFeedback, binarised: its messages are those of the chosen response
        {"prompt": TEXT, "chosen": MESSAGES, "rejected": MESSAGES, "messages": MESSAGES},
        "preference",
        {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
    ),
    (
        {"conversations": SHAREGPT, "kto_tag": pa.bool_(), "system": TEXT},
        "unpaired",
        {"messages": "conversations", "label": "kto_tag", "system": "system"},
    ),
    ({"messages": MESSAGES, "label": pa.bool_()}, "unpaired", {"messages": "messages", "label": "label"}),
    ({"messages": MESSAGES, "prompt": TEXT}, "prompt_completion", {"messages": "messages"}),
    ({"conversations": SHAREGPT}, "prompt_completion", {"messages": "conversations"}),
    (
        {"input": pa.struct([("messages", MESSAGES)]), "preferred_output": MESSAGES, "non_preferred_output": MESSAGES},
        "preference",
        {"prompt": "input.messages", "chosen": "preferred_output", "rejected": "non_preferred_output"},
    ),
    (
        {"instruction": TEXT, "input": TEXT, "output": TEXT, "system": TEXT, "history": pa.list_(TEXTS)},
        "prompt_completion",
        {
            "instruction": "instruction",
            "input": "input",
            "completion": "output",
            "system": "system",
            "history": "history",
        },
    ),
    (
        {"instruction": TEXT, "output": TEXT, "kto_tag": pa.bool_()},
        "unpaired",
        {"instruction": "instruction", "completion": "output", "label": "kto_tag"},
    ),
    (
        {"instruction": TEXT, "input": TEXT, "output": TEXTS},
        "ordered_completions",
        {"instruction": "instruction", "input": "input", "completions": "output"},
    ),
    (
        {"instruction": TEXT, "input": TEXT, "chosen": TEXT, "rejected": TEXT},
        "preference",
        {"instruction": "instruction", "input": "input", "chosen": "chosen", "rejected": "rejected"},
    ),
    (
        {"source": TEXT, "instruction": TEXT, "completions": pa.list_(ANSWER), "models": TEXTS},
        "scored_completions",
        {
            "instruction": "instruction",
            "completions": "completions.response",
            "scores": "completions.overall_score",
        },
    ),
    (
        {"prompt": TEXT, "completions": TEXTS, "scores": NUMBERS},
        "scored_completions",
        {"prompt": "prompt", "completions": "completions", "scores": "scores"},
    ),
    (
        {"prompt": MESSAGES, "responses": pa.list_(MESSAGES), "rank": pa.list_(pa.int64())},
        "ranked_completions",
        {"prompt": "prompt", "completions": "responses", "ranks": "rank"},
    ),
    (
        {"context": MESSAGES, "response1": TEXT, "response2": TEXT, "overall_preference": pa.int64()},
        "two_responses",
        {"prompt": "context", "response1": "response1", "response2": "response2", "preference": "overall_preference"},
    ),
    (
        {"prompt": TEXT, "response_1": TEXT, "response_2": TEXT, "preference_strength": pa.int64()},
        "two_responses",
        {
            "prompt": "prompt",
            "response1": "response_1",
            "response2": "response_2",
            "preference": "preference_strength",
        },
    ),
]


@pytest.mark.parametrize(("types", "kind", "columns"), NAMED)
def test_detected_by_names_that_data_sets_use(
    types: dict[str, pa.DataType], kind: str, columns: dict[str, str]
) -> None:
    layout = detected({"id": pa.int64(), **types, "note": TEXT})
    assert (layout.kind, layout.columns) == (kind, columns)
    assert Layout.model_validate(layout.model_dump(mode="json")) == layout
    assert all(f"{role}={column}" in layout.describe() for role, column in columns.items())


def test_every_row_of_a_known_name_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    names = {name.split(".")[0] for known in RESPONSES + CONVERSATIONS for name in (*known.columns, *known.prompts)}
    assert [name for name in sorted(names) if f"`{name}`" not in page and f'"{name}"' not in page] == []


def test_a_conversation_beside_whole_conversations_is_not_the_prompt() -> None:
    types = {"messages": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES}
    user, assistant = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    whole = {"messages": [user, assistant], "chosen": [user, assistant], "rejected": [user, assistant]}
    assert detected(types, [whole]).kind == "preference_implicit_prompt"
    assert detected(types, [{**whole, "chosen": [assistant], "rejected": [assistant]}]).kind == "preference"


def test_transcripts_are_told_by_their_marks() -> None:
    types = {"chosen": TEXT, "rejected": TEXT}
    assert detected(types, [TRANSCRIPT]).kind == "transcripts"
    odd = {**TRANSCRIPT, "chosen": "no marks"}
    with pytest.raises(InputError, match=r"1 of the first 4 texts.*--columns"):
        detected(types, [TRANSCRIPT, odd])
    assert detected(types, [TRANSCRIPT, odd], chosen="chosen", rejected="rejected").kind == "transcripts"
    with pytest.raises(InputError, match="would be a guess"):
        detected(types, [odd | {"rejected": "none"}], chosen="chosen", rejected="rejected")


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({}, "no row could be read"),
        (
            {"question": TEXT, "answer": TEXT},
            r"fit no layout:\n  question  string: could be prompt, .*(?s:.*)--columns.*:\n  prompt=…,chosen=…",
        ),
        ({"chosen": TEXT}, "fit no layout"),
        ({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT, "completion": TEXT}, "more than one layout"),
        ({"prompt": TEXT, "chosen": pa.list_(SPEAKER), "rejected": TEXT}, "keys name, text; role and content"),
        ({"prompt": TEXT, "chosen": pa.list_(TEXT), "rejected": TEXT}, "'chosen' is list<item: string>"),
        ({"prompt": TEXT, "chosen": MESSAGES, "rejected": TEXT}, "both responses must be"),
        ({"prompt": TEXT, "completion": TEXT, "label": pa.float64()}, "label is true or false"),
        ({"chosen": TEXT, "rejected": TEXT}, "would be a guess"),
    ],
)
def test_refuses_rather_than_guesses(types: dict[str, pa.DataType], message: str) -> None:
    with pytest.raises(InputError, match=message):
        detected(types)


def test_columns_overrule() -> None:
    types = {
        "prompt": TEXT,
        "question": TEXT,
        "better": TEXT,
        "worse": TEXT,
        "chosen": TEXT,
        "rejected": TEXT,
    }
    layout = detected(types, prompt="question", chosen="better", rejected="worse")
    assert layout.columns == {"prompt": "question", "chosen": "better", "rejected": "worse"}
    assert "prompt=question, chosen=better, rejected=worse" in layout.describe()
    assert detected(types, prompt="question").columns == {
        "prompt": "question",
        "chosen": "chosen",
        "rejected": "rejected",
    }
    answers = {"prompt": TEXT, "answer": TEXT, "label": pa.float64()}
    assert detected(answers, prompt="prompt", completion="answer").kind == "prompt_completion"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"question": "prompt"}, "unknown role 'question'; roles are prompt"),
        ({"prompt": "absent"}, "prompt=absent: there is no such column; the columns are:\n  prompt "),
        ({"prompt": "chosen", "chosen": "chosen", "rejected": "rejected"}, "one column for two roles"),
    ],
)
def test_columns_that_cannot_be_right(columns: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        detected({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}, **columns)


def test_columns_overrule_by_path_and_are_made_whole_by_what_is_detected() -> None:
    types = {"instruction": TEXT, "completions": pa.list_(ANSWER), "prompt_text": TEXT}
    assert detected(types, scores="completions.other").columns == {
        "instruction": "instruction",
        "completions": "completions.response",
        "scores": "completions.other",
    }
    assert detected(types, prompt="prompt_text").columns == {
        "prompt": "prompt_text",
        "completions": "completions.response",
        "scores": "completions.overall_score",
    }
    plain = {"instruction": TEXT, "input": TEXT, "output": TEXT, "system": TEXT}
    assert detected(plain, prompt="instruction", completion="output").columns == {
        "prompt": "instruction",
        "completion": "output",
    }
    nectar = {"prompt": TEXT, "answers": pa.list_(pa.struct([("answer", TEXT), ("rank", pa.float64())]))}
    ranked = detected(nectar, completions="answers.answer", ranks="answers.rank")
    assert (ranked.kind, ranked.columns["prompt"]) == ("ranked_completions", "prompt")


SPAN = pa.struct([("start", pa.int64()), ("end", pa.int64())])
SCORED_SPAN = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("score", pa.float64())])


@pytest.mark.parametrize(
    ("kind", "unit"),
    [
        (pa.list_(pa.bool_()), "scores"),
        (pa.list_(pa.int64()), "scores"),
        (pa.list_(SPAN), "errors"),
        (pa.list_(SCORED_SPAN), "spans"),
    ],
)
def test_label_columns(kind: pa.DataType, unit: str) -> None:
    types = {"prompt": TEXT, "chosen": TEXT, "rejected": TEXT, "marks": kind}
    layout = detected(types, rejected_labels="marks")
    assert (layout.kind, layout.label_units) == ("preference", {"rejected_labels": unit})


@pytest.mark.parametrize(
    ("types", "columns", "message"),
    [
        ({"marks": TEXTS}, {"chosen_labels": "marks"}, "labels are a list of numbers"),
        ({"marks": NUMBERS}, {"completion_labels": "marks"}, "there is no completion response to label"),
        ({}, {"history": "marks"}, "no such column"),
        ({"marks": TEXTS}, {"history": "marks"}, "input and history belong to an instruction"),
        ({}, {"format": "nothing"}, "format=nothing: no such format; there are"),
        ({}, {"format": "nothing", "prompt": "prompt"}, "stands alone"),
    ],
)
def test_roles_that_cannot_be_right(types: dict[str, pa.DataType], columns: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        detected({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT, **types}, **columns)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({"prompt": TEXT, "completions": TEXTS}, "fit no layout"),
        ({"prompt": TEXT, "completions": TEXTS, "scores": NUMBERS, "ranks": NUMBERS}, "more than one layout"),
        ({"prompt": TEXT, "completions": TEXT, "scores": NUMBERS}, "completions are a list"),
        ({"prompt": TEXT, "completions": MESSAGES, "scores": NUMBERS}, "completions are a list"),
        ({"prompt": TEXT, "completions": TEXTS, "scores": TEXTS}, "scores are a list of numbers"),
        ({"messages": TEXT}, "'messages' is string; it must hold messages"),
        ({"messages": MESSAGES, "conversations": SHAREGPT}, "more than one layout"),
        ({"messages": MESSAGES, "label": pa.bool_(), "kto_tag": pa.bool_()}, "more than one layout"),
        ({"instruction": MESSAGES, "output": TEXT}, "must hold texts"),
        ({"instruction": TEXT, "output": TEXT, "chosen": TEXT, "rejected": TEXT}, "more than one layout"),
        ({"context": TEXT, "chosen": TEXT, "rejected": TEXT}, "would be a guess"),
        ({"instruction": TEXT, "output": TEXT, "history": TEXT}, "history is a list of pairs"),
        (
            {"context": MESSAGES, "response1": TEXT, "response2": TEXT, "overall_preference": TEXT},
            "a preference is a number",
        ),
    ],
)
def test_refuses_other_layouts(types: dict[str, pa.DataType], message: str) -> None:
    with pytest.raises(InputError, match=message):
        detected(types)


def test_tools_beside_the_messages_of_openai() -> None:
    given = pa.struct([("messages", MESSAGES), ("tools", TEXT)])
    layout = detected({"input": given, "preferred_output": MESSAGES, "non_preferred_output": MESSAGES})
    assert layout.tools_column == "input.tools"


def test_a_format_with_labels_comes_first_and_is_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    def format_with(name: str, column: str) -> labelled.LabelledFormat:
        return labelled.LabelledFormat(
            name=name,
            title=f"made-up {name}",
            source="this test",
            sides=("completion",),
            matches=lambda schema, _: column in schema.names,
            read=lambda record: (record["prompt"], ()),
        )

    monkeypatch.setattr(labelled, "FORMATS", {"a": format_with("a", "marks"), "b": format_with("b", "notes")})
    types = {"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}
    layout = detected({**types, "marks": TEXT})
    assert (layout.kind, layout.format, layout.sides) == ("labelled", "a", ("completion",))
    assert layout.describe() == "made-up a (format=a)"
    assert detected(types).format is None
    assert detected(types, format="b").format == "b"
    assert detected({**types, "marks": TEXT}, prompt="prompt", chosen="chosen", rejected="rejected").format is None
    with pytest.raises(InputError, match=r"more than one format with labels:(?s:.*)\n  format=a\n  format=b"):
        detected({**types, "marks": TEXT, "notes": TEXT})


def test_a_layout_of_an_earlier_manifest_is_still_one() -> None:
    columns = {"prompt": "prompt", "chosen": "a", "rejected": "b"}
    dumped = {"kind": "preference", "columns": columns, "tools_column": None, "template_kwargs_column": "k"}
    layout = Layout.model_validate(dumped)
    assert (layout.sides, layout.format, layout.label_units) == (("chosen", "rejected"), None, {})


def test_template_columns_and_frozen() -> None:
    types = {"prompt": MESSAGES, "completion": MESSAGES, "tools": TEXT, "chat_template_kwargs": pa.null()}
    layout = detected(types)
    assert (layout.tools_column, layout.template_kwargs_column) == ("tools", "chat_template_kwargs")
    with pytest.raises(ValidationError):
        layout.kind = "unpaired"  # type: ignore[misc]
