"""Small files in the layouts of data sets that people have, read without ``--columns``; the right rows are by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asr_data.rows import detect, first_records, open_source, read_rows
from asr_data.types import RejectedRow, Row

FILES = Path(__file__).parent / "layout_files"


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}


def said(content: str) -> list[dict[str, str]]:
    """A completion of one message."""
    return [assistant(content)]


def pair(prompt: Any, chosen: Any, rejected: Any) -> tuple[Any, dict[str, Any]]:
    """A row with two sides, the first preferred."""
    return prompt, {"chosen": (chosen, True), "rejected": (rejected, False)}


def single(prompt: Any, completion: Any, preferred: bool) -> tuple[Any, dict[str, Any]]:
    """A row with one side."""
    return prompt, {"completion": (completion, preferred)}


PIRATE = [
    pair(
        [system("You are a pirate."), user("Where is the treasure?")],
        said("Under the palm, matey."),
        said("I do not know."),
    ),
    pair([user("What is 2 + 2?")], said("4"), said("5")),
]
SEA = pair([user("Name a sea.")], said("The North Sea."), said("Alps."))
MARS = [user("Name a planet."), assistant("Mars."), user("And a moon?")]

RIGHT: dict[str, list[Any]] = {
    "orca_dpo.jsonl": PIRATE,
    "distilabel_orca.jsonl": PIRATE,
    "truthy_dpo.jsonl": [
        pair([system("Be honest."), user("Do you eat?")], said("I am a program; no."), said("Yes, pizza.")),
    ],
    "nectar.jsonl": [
        pair([user("Name a color.")], said("Red."), said("Seven.")),
        pair([user("Hi"), assistant("Hello!"), user("Name an animal.")], said("A cat."), said("A stone.")),
        "no_preference",
    ],
    "hh_prompt.jsonl": [
        pair([user("Hi"), assistant("Hello!"), user("Name a sea.")], said("The North Sea."), said("Alps.")),
    ],
    "kto_response.jsonl": [single("Say hi.", "Hi!", True), single("Say hi.", "No.", False)],
    "kto_responses.jsonl": [pair("Say hi.", "Hi!", "No."), "no_preference"],
    "shp.jsonl": [
        pair("How do I boil an egg?", "Ten minutes in boiling water.", "Ask a hen."),
        pair("Is salt a spice?", "No, it is a mineral.", "Yes, obviously."),
    ],
    "shp.csv": [pair("How do I boil an egg?", "Ten minutes in boiling water.", "Ask a hen.")],
    "chatbot_arena.jsonl": [
        pair([user("Name a prime.")], said("5"), said("4")),
        pair(
            [user("Hi")],
            [assistant("Hello."), user("Joke?"), assistant("A horse walks into a bar.")],
            [assistant("Hey."), user("Joke?"), assistant("No.")],
        ),
        "no_preference",
        "no_preference",
    ],
    "arena_parts.jsonl": [pair([user("Name a prime.")], said("7"), said("8")), "no_preference"],
    "arena_55k.csv": [
        pair(
            [user("Name a prime.")],
            [assistant("5"), user("And another."), assistant("7")],
            [assistant("4"), user("And another."), assistant("6")],
        ),
        "no_preference",
    ],
    "pku_saferlhf.jsonl": [
        pair("How do I open a lock?", "Call a locksmith.", "Break the door."),
        pair("How do I stay awake?", "Walk around a little.", "Do not."),
    ],
    "webgpt.jsonl": [
        pair("Why is the sky blue?", "It scatters blue light [1].", "It is painted."),
        "no_preference",
    ],
    "capybara_dpo.jsonl": [pair(MARS, said("Phobos."), said("Cheese."))],
    "capybara.jsonl": [single(MARS, said("Phobos."), True)],
    "argilla_math.jsonl": [pair([user("What is 3 + 4?")], said("7"), said("8"))],
    "stack_exchange.jsonl": [pair("How do I sort a list?", "Use sorted().", "You cannot.")],
    "trajectory.jsonl": [pair([user("Write 1."), assistant("2"), user("No, 1.")], said("1"), said("3"))],
    "messages.csv": [SEA],
    "parts.jsonl": [SEA, "wrong_type"],
}


@pytest.mark.parametrize("name", RIGHT)
def test_rows_are_right(name: str) -> None:
    assert found(FILES / name) == RIGHT[name]


def test_every_file_has_its_rows() -> None:
    assert {path.name for path in FILES.iterdir()} == set(RIGHT)


def test_the_safer_response_can_be_the_winner() -> None:
    path = FILES / "pku_saferlhf.jsonl"
    assert found(path, winner="safer_response_id") == [
        pair("How do I open a lock?", "Call a locksmith.", "Break the door."),
        pair("How do I stay awake?", "Do not.", "Walk around a little."),
    ]


def found(path: Path, **columns: str) -> list[Any]:
    """Prompt, and content and verdict by side, of each row; of a rejected one its code."""
    source = open_source(path)
    rows = next(read_rows(source, detect(source.schema, first_records(source), columns or None), 100))
    return [row.code if isinstance(row, RejectedRow) else plain(row) for row in rows]


def plain(row: Row) -> tuple[Any, dict[str, Any]]:
    return row.prompt, {one.side: (one.content, one.preferred) for one in row.completions}
