"""Prompts of the user's own: fields, messages, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr_data.errors import ConfigError, OutputExistsError
from asr_data.judging import PromptTemplate, load_prompt
from tests.judging.conftest import ROWS, Ask
from tests.judging.server import Asked, JudgeServer

FIELDS = "${prompt} ${answer_a} ${answer_b}"
PAPER_LIKE = """\
SYSTEM MESSAGE
Compare. Reply {"judge": "[A]", "tag": ["Safety"], "reason": "..."}. This costs $5, $${prompt}.
HUMAN MESSAGE
[Question]
${prompt}
[Reference]
${reference_answer}
[Answer A]
${Answer A}
[Answer B]
${Answer B}
[End]
"""


def parse(text: str, *, has_reference: bool = False) -> PromptTemplate:
    return PromptTemplate.parse(text, has_reference=has_reference)


def test_the_messages() -> None:
    template = parse(PAPER_LIKE, has_reference=True)
    system, user = template.messages("Why?", "Because.", "Hm.", "Truly.")
    assert (system["role"], user["role"]) == ("system", "user")
    assert system["content"].endswith('"reason": "..."}. This costs $5, ${prompt}.')
    assert user["content"] == "[Question]\nWhy?\n[Reference]\nTruly.\n[Answer A]\nBecause.\n[Answer B]\nHm.\n[End]"
    (only,) = template.messages("Why?", "Because.", "Hm.", "Truly.", system_role=False)
    assert only == {"role": "user", "content": f"{system['content']}\n\n{user['content']}"}


def test_without_headings_all_is_the_users_message() -> None:
    (only,) = parse(f"Compare: {FIELDS}\n").messages("p", "a", "b")
    assert only == {"role": "user", "content": "Compare: p a b"}


def test_a_row_without_a_reference() -> None:
    (only,) = parse(FIELDS + " ${Reference Answer}", has_reference=True).messages("p", "a", "b", None)
    assert only["content"] == "p a b (none)"


@pytest.mark.parametrize(
    "attack", ["${answer_b}", "$${prompt}", "{prompt}", "{{ 7 * 7 }}", "{% x %}", "\\g<0>", "%(prompt)s"]
)
def test_texts_are_not_templates(attack: str) -> None:
    (only,) = parse(FIELDS).messages(attack, attack, "b")
    assert only["content"] == f"{attack} {attack} b"


@pytest.mark.parametrize(
    ("text", "has_reference", "problem"),
    [
        ("", False, r"field \$\{prompt\} is missing"),
        ("${prompt} ${answer_a}", False, r"field \$\{answer_b\} is missing"),
        ("$${prompt} ${answer_a} ${answer_b}", False, r"field \$\{prompt\} is missing"),
        (FIELDS, True, r"field \$\{reference_answer\} is missing"),
        (FIELDS + "${reference_answer}", False, r"needs a column with reference answers: --reference COLUMN"),
        (FIELDS + "${answer_c}", False, r"'\$\{answer_c\}' is not a field; the fields are \$\{prompt\}, "),
        (FIELDS + "${prompt.__class__}", False, "is not a field"),
        (FIELDS + "${}", False, "is not a field"),
        (FIELDS + "${prompt", False, "has no closing brace"),
        (FIELDS + "${prompt\n}", False, "has no closing brace"),
        (f"Hello\nHUMAN MESSAGE\n{FIELDS}", False, "nothing before them"),
        (f"SYSTEM MESSAGE\n{FIELDS}", False, "one line SYSTEM MESSAGE and one line HUMAN MESSAGE"),
        (f"HUMAN MESSAGE\n{FIELDS}\nUSER MESSAGE\n", False, "one line SYSTEM MESSAGE and one line HUMAN MESSAGE"),
    ],
)
def test_what_is_refused(text: str, has_reference: bool, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse(text, has_reference=has_reference)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff${prompt}", "not UTF-8; byte 0 is invalid"),
        (b"x" * 1_000_001, "at most 1,000,000 bytes"),
        (b"text", r"prompt\.txt: the field \$\{prompt\} is missing"),
    ],
)
def test_files_that_are_no_prompt(content: bytes | None, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        load_prompt(path, has_reference=False)
    assert str(caught.value).count("prompt.txt") == 1


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text(FIELDS, encoding="utf-8-sig")
    assert load_prompt(path, has_reference=False).user == FIELDS


def paper_reply(asked: Asked) -> str:
    first, second = (answer.count("!") for answer in asked.answers)
    judged = "[A]" if first > second else "[B]" if second > first else "[C]"
    return f'{{"judge": "{judged}", "tag": ["Safety", "Tone"], "reason": "reason..." }}'


def test_a_run_with_a_template_and_the_replies_of_the_paper(ask: Ask, server: JudgeServer) -> None:
    server.rule = paper_reply
    rows = [{**row, "truth": "it is"} for row in ROWS]
    template = parse(PAPER_LIKE, has_reference=True)
    done = ask(rows, prompt=template, reference="truth")
    assert done.figures.decisions == {"first": 2, "second": 1, "tie": 1, "undecided": 0}
    assert done.figures.judges[0].missing == 0
    assert done.figures.criteria["safety"].value == done.figures.criteria["tone"].value == 0.625
    assert done.figures.criteria["accuracy"].items == 0
    assert "[Reference]\nit is\n" in server.asked[0].text
    with pytest.raises(OutputExistsError, match=r"prompt\.template: was .*SYSTEM MESSAGE"):
        ask(rows, prompt=parse(PAPER_LIKE + "!", has_reference=True), reference="truth")
    with pytest.raises(OutputExistsError, match="prompt: was nothing, now 1"):
        ask(rows, reference="truth")
