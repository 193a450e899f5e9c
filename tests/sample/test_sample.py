"""The sample keeps what its README promises."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import unicodedata
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest

from asr_data import sample
from asr_data.errors import InputError
from asr_data.sample import sample_path, sample_rows
from tests.sample.balance import average, chosen_longer, diff_auroc, figures, length_ratio, place_auroc
from tests.sample.build import SAMPLE, Pair, Span, pairs

COLUMNS = {"prompt", "chosen", "rejected", "topic", "language", "fault_spans"}
TOPICS = {"facts", "arithmetic", "code", "instructions", "safety", "dialogue"}
KINDS = {"wrong_fact", "arithmetic", "code_bug", "ignored_instruction", "unsafe_advice", "contradiction"}

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in sample_path().read_bytes().decode("utf-8").removesuffix("\n").split("\n")
]
PAIRS = pairs()
each_row = pytest.mark.parametrize("row", ROWS, ids=[str(number) for number in range(len(ROWS))])


def chosen(row: dict[str, Any]) -> str:
    content: str = row["chosen"][0]["content"]
    return content


def rejected(row: dict[str, Any]) -> str:
    content: str = row["rejected"][0]["content"]
    return content


def all_text(row: dict[str, Any]) -> str:
    return "".join(message["content"] for side in ("prompt", "chosen", "rejected") for message in row[side])


def splits_latin_word(text: str, position: int) -> bool:
    """Whether the cut at ``position`` separates two characters of one word, or an accent from its letter."""
    if position in (0, len(text)):
        return False

    def in_word(character: str) -> bool:
        return character.isdecimal() or unicodedata.name(character, "").startswith("LATIN")

    before, after = text[position - 1], text[position]
    return unicodedata.combining(after) > 0 or (in_word(before) and in_word(after))


# --- the file --------------------------------------------------------------------------------------------


def test_the_path_is_the_file_next_to_the_module() -> None:
    assert sample_path() == Path(sample.__file__).parent / "pairs.jsonl"


def test_rows_of_each_topic_are_spread_over_it_and_in_order() -> None:
    assert sample_rows() == ROWS
    some = sample_rows(15)
    assert Counter(row["topic"] for row in some) == dict.fromkeys(TOPICS, 15)
    places = [ROWS.index(row) for row in some]
    assert places == sorted(places)
    arithmetic = [place for place in places if ROWS[place]["topic"] == "arithmetic"]
    assert {after - before for before, after in itertools.pairwise(arithmetic)} == {2, 3}  # 40 rows, 15 of them
    assert len(sample_rows(100)) == 120


def test_a_missing_file_is_an_input_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sample, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match="is not a file"):
        sample_path()


def test_the_module_does_not_import_torch() -> None:
    program = "import sys, asr_data.sample; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_file_is_plain_jsonl() -> None:
    raw = sample_path().read_bytes()
    assert raw.endswith(b"}\n")
    assert b"\r" not in raw
    assert b"\\u" not in raw  # text is written as UTF-8, not as escapes
    assert not raw.startswith(b"\xef\xbb\xbf")


def test_the_file_is_what_its_source_makes() -> None:
    assert SAMPLE.read_bytes().decode("utf-8") == "".join(pair.line() for pair in PAIRS), (
        "make it again: python -m tests.sample.build"
    )


# --- each row --------------------------------------------------------------------------------------------


@each_row
def test_columns_and_roles(row: dict[str, Any]) -> None:
    assert set(row) == COLUMNS
    assert row["topic"] in TOPICS
    roles = [message["role"] for message in row["prompt"]]
    talk = roles[1:] if roles[0] == "system" else roles
    assert talk == ["user", "assistant"] * (len(talk) // 2) + ["user"]
    for side in ("chosen", "rejected"):
        assert [message["role"] for message in row[side]] == ["assistant"]
    for side in ("prompt", "chosen", "rejected"):
        for message in row[side]:
            assert set(message) == {"role", "content"}
            assert message["content"].strip() == message["content"] != ""


@each_row
def test_responses_differ_and_fences_are_closed(row: dict[str, Any]) -> None:
    assert chosen(row) != rejected(row)
    assert chosen(row).count("```") % 2 == rejected(row).count("```") % 2 == 0
    assert "⟦" not in all_text(row)  # the brackets that marked the faults
    assert "⟧" not in all_text(row)


@each_row
def test_fault_spans_are_sorted_inside_the_response_and_whole_words(row: dict[str, Any]) -> None:
    text, spans = rejected(row), row["fault_spans"]
    assert spans
    previous_end = 0
    for span in spans:
        assert set(span) == {"start", "end", "kind"}
        assert span["kind"] in KINDS
        assert previous_end <= span["start"] < span["end"] <= len(text)
        previous_end = span["end"]
        marked = text[span["start"] : span["end"]]
        assert marked == marked.strip()
        assert not splits_latin_word(text, span["start"])
        assert not splits_latin_word(text, span["end"])


@each_row
def test_faults_are_the_smaller_part_and_not_in_the_chosen_response(row: dict[str, Any]) -> None:
    text, spans = rejected(row), row["fault_spans"]
    assert sum(span["end"] - span["start"] for span in spans) < len(text) / 2
    for span in spans:
        # one character more, so that ``low = middle`` is not found in ``low = middle + 1``
        assert text[span["start"] : span["end"] + 1] not in chosen(row)


@pytest.mark.parametrize(
    ("question", "marked"),
    [
        ("Who wrote Frankenstein", ["beside the canals of Venice"]),
        ("How do I roast a whole chicken?", ["Preheat the oven to 425 °F."]),
        ("Announce our space-themed", ["The music will be 🔥🔥🔥!"]),
        ("富士山について", ["長野県と岐阜県の境"]),
        ("Pourquoi l'eau de mer", ["Quand l'eau s'e\u0301vapore, le sel s'e\u0301vapore avec elle"]),
        ("How do I list all customers", ["orders.id = NULL"]),
        ("My pancake recipe", ["2 × 2.5 = 4"]),
    ],
)
def test_spans_mark_the_planted_text(question: str, marked: list[str]) -> None:
    (row,) = [row for row in ROWS if unicodedata.normalize("NFC", row["prompt"][-1]["content"]).startswith(question)]
    assert [rejected(row)[span["start"] : span["end"]] for span in row["fault_spans"]] == marked


# --- the mix ---------------------------------------------------------------------------------------------


def test_counts() -> None:
    assert len(ROWS) == 120
    assert len({json.dumps(row["prompt"]) for row in ROWS}) == 120
    topics = {"facts": 15, "arithmetic": 40, "code": 20, "instructions": 15, "safety": 15, "dialogue": 15}
    assert Counter(row["topic"] for row in ROWS) == topics
    languages = Counter(row["language"] for row in ROWS)
    assert languages == {"en": 91, "fr": 6, "de": 5, "es": 5, "ja": 4, "zh": 4, "ar": 3, "he": 2}
    assert {span["kind"] for row in ROWS for span in row["fault_spans"]} == KINDS


def test_multi_turn_prompts_and_system_messages() -> None:
    roles = [[message["role"] for message in row["prompt"]] for row in ROWS]
    assert sum("assistant" in turns for turns in roles) >= 8
    assert sum(turns[0] == "system" for turns in roles) >= 3


def test_what_makes_offsets_hard_is_there() -> None:
    texts = [rejected(row) for row in ROWS]
    assert any("e\u0301" in text for text in texts)  # a decomposed accent
    assert any("\u200d" in text for text in texts)  # emoji joined to one glyph
    assert any("\N{EMOJI MODIFIER FITZPATRICK TYPE-4}" in text for text in texts)
    assert sum("```" in text for text in texts) >= 6


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_length_does_not_tell_the_sides_apart(topic: str) -> None:
    own = [pair for pair in PAIRS if pair.topic == topic]
    assert length_ratio(own) == pytest.approx(1, abs=0.02)
    assert 0.4 <= chosen_longer(own) <= 0.6


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_place_and_word_diff_do_not_tell_the_faults_apart(topic: str) -> None:
    own = [pair for pair in PAIRS if pair.topic == topic]
    assert average(place_auroc, own) == pytest.approx(0.5, abs=0.06)
    assert average(diff_auroc, own) < 0.6
    thirds = Counter(
        int(3 * (fault.start + fault.end) / 2 / len(pair.rejected)) for pair in own for fault in pair.faults
    )
    assert min(thirds[third] for third in range(3)) >= 2


def test_place_and_length_over_all_pairs() -> None:
    assert average(place_auroc, PAIRS) == pytest.approx(0.5, abs=0.02)
    assert chosen_longer(PAIRS) == pytest.approx(0.5, abs=0.05)


def test_some_rejected_answers_are_edits_and_some_are_rewritten() -> None:
    def shared(pair: Pair) -> float:
        return SequenceMatcher(None, pair.chosen, pair.rejected, autojunk=False).ratio()

    alike = sorted(shared(pair) for pair in PAIRS)
    assert sum(one > 0.8 for one in alike) >= 10
    assert sum(one < 0.5 for one in alike) >= 60


def test_the_readme_gives_these_figures() -> None:
    readme = sample_path().with_name("README.md").read_text(encoding="utf-8")
    assert figures(PAIRS) in readme, "python -m tests.sample.build --figures"


def test_figures_by_hand() -> None:
    pair = Pair("facts", "en", (("user", "?"),), "a b c", "a x c", (Span(2, 3, "wrong_fact"),))
    assert place_auroc(pair) == 0.5  # two characters before it, two after
    assert diff_auroc(pair) == 1.0
    late = Pair("facts", "en", (("user", "?"),), "x y", "x zz", (Span(2, 4, "wrong_fact"),))
    assert (place_auroc(late), chosen_longer([pair, late]), length_ratio([pair, late])) == (1.0, 0.0, 8 / 9)
