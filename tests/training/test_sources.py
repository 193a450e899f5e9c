from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.errors import ConfigError, InputError
from asr_data.training.examples import LabelledExample, group_of, response_text
from asr_data.training.sources import SourceKind, SourceResult, read_source

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def read(tmp_path: Path, kind: SourceKind, rows: list[Any], **options: Any) -> SourceResult:
    path = tmp_path / "rows.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return read_source(kind, path, name="test", **options)


def said(example: LabelledExample) -> list[tuple[str, float]]:
    """The labels of an example with the text that their bytes hold."""
    text = response_text(example.response.content).encode()
    return [(text[label.start : label.end].decode(), label.target) for label in example.response.labels]


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


# --- preference ------------------------------------------------------------------------------------------


def test_transcripts_share_a_prompt(tmp_path: Path) -> None:
    start = "\n\nHuman: Hello\n\nAssistant: Hi!\n\nHuman: A joke,\n\nplease\n\nAssistant:"
    result = read(tmp_path, "preference", [{"chosen": f"{start} Knock knock.", "rejected": f"{start} No."}])
    (pair,) = result.preferences
    assert pair.prompt == [user("Hello"), assistant("Hi!"), user("A joke,\n\nplease")]
    assert (pair.chosen, pair.rejected) == ([assistant("Knock knock.")], [assistant("No.")])
    assert pair.group == group_of("Hello")


def test_transcripts_that_part_early_keep_the_later_turns(tmp_path: Path) -> None:
    chosen = "\n\nHuman: Q\n\nAssistant: A\n\nHuman: More\n\nAssistant: B"
    rejected = "\n\nHuman: Q\n\nAssistant: C"
    (pair,) = read(tmp_path, "preference", [{"chosen": chosen, "rejected": rejected}]).preferences
    assert pair.prompt == [user("Q")]
    assert pair.chosen == [assistant("A"), user("More"), assistant("B")]
    assert pair.rejected == [assistant("C")]


def test_a_transcript_that_is_the_start_of_the_other_steps_back_to_the_question(tmp_path: Path) -> None:
    chosen = "\n\nHuman: Q\n\nAssistant: A"
    rejected = "\n\nHuman: Q\n\nAssistant: A\n\nAssistant: B"
    (pair,) = read(tmp_path, "preference", [{"chosen": chosen, "rejected": rejected}]).preferences
    assert pair.prompt == [user("Q")]
    assert (pair.chosen, pair.rejected) == ([assistant("A")], [assistant("A"), assistant("B")])


@pytest.mark.parametrize("prompt", ["Q", [user("Q")]])
@pytest.mark.parametrize("chosen", ["A", [assistant("A")]])
def test_strings_and_messages_give_the_same_pair(tmp_path: Path, prompt: Any, chosen: Any) -> None:
    rows = [{"prompt": prompt, "chosen": chosen, "rejected": "B"}]
    (pair,) = read(tmp_path, "preference", rows).preferences
    assert (pair.prompt, pair.chosen, pair.rejected) == ([user("Q")], [assistant("A")], [assistant("B")])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{not json", "not_an_object"),
        ([1, 2], "not_an_object"),
        ({"prompt": "Q", "chosen": "A"}, "missing_field"),
        ({"prompt": None, "chosen": "A", "rejected": "B"}, "missing_field"),
        ({"chosen": "\n\nHuman: Q\n\nAssistant: A"}, "missing_field"),
        ({"prompt": "Q", "chosen": " \n", "rejected": "B"}, "empty_text"),
        ({"chosen": "\n\nHuman: Q\n\nAssistant:", "rejected": "\n\nHuman: Q\n\nAssistant: A"}, "empty_text"),
        ({"prompt": "Q", "chosen": "A", "rejected": "A"}, "identical_sides"),
        ({"prompt": "Q", "chosen": 5, "rejected": "B"}, "not_text"),
        ({"prompt": "Q", "chosen": ["A"], "rejected": "B"}, "not_a_message"),
        ({"prompt": [assistant("Q")], "chosen": "A", "rejected": "B"}, "prompt_without_question"),
        ({"prompt": "Q", "chosen": [user("A")], "rejected": "B"}, "not_a_response"),
        ({"prompt": "Q", "chosen": "\ud800", "rejected": "B"}, "not_unicode"),
        (
            {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: R\n\nAssistant: A"},
            "no_common_prompt",
        ),
        ({"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "A"}, "not_a_transcript"),
    ],
)
def test_unusable_pairs_are_counted_and_the_others_read(tmp_path: Path, row: Any, reason: str) -> None:
    good = {"prompt": "Q", "chosen": "A", "rejected": "B"}
    result = read(tmp_path, "preference", [good, row, good])
    assert (result.rows, len(result.preferences), result.skipped) == (3, 2, {reason: 1})


def test_the_log_names_file_row_and_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="asr_data.training"):
        read(tmp_path, "preference", [{"prompt": "Q", "chosen": "A", "rejected": "A"}])
    assert "rows.jsonl, row 0: skipped, identical_sides" in caplog.text


# --- spans -----------------------------------------------------------------------------------------------


def test_error_spans_become_bytes(tmp_path: Path) -> None:
    row = {
        "prompt": "Q",
        "chosen": "Café is 😀 bad 中文.",
        "rejected": "Other.",
        "labelled_side": "chosen",
        # unsorted, two that overlap: "😀 bad" = 8..13 and "bad 中" = 10..15; "Café" = 0..4
        "error_spans": [{"start": 10, "end": 15}, {"start": 0, "end": 4}, {"start": 8, "end": 13}],
    }
    result = read(tmp_path, "spans", [row])
    (example,) = result.labelled
    assert said(example) == [("Café", 0.0), (" is ", 1.0), ("😀 bad 中", 0.0), ("文.", 1.0)]
    assert example.source == "test"
    assert len(result.preferences) == 1


def test_a_side_without_errors_is_good_throughout(tmp_path: Path) -> None:
    row = {"prompt": "Q", "chosen": "A", "rejected": "Bé", "labelled_side": "rejected", "error_spans": []}
    (example,) = read(tmp_path, "spans", [row]).labelled
    assert said(example) == [("Bé", 1.0)]


def test_fault_spans_are_the_rejected_side_s(tmp_path: Path) -> None:
    row = {
        "prompt": [user("Q")],
        "chosen": [assistant("Right.")],
        "rejected": [assistant("So wrong.")],
        "fault_spans": [{"start": 3, "end": 8, "kind": "wrong_fact"}],
    }
    good, bad = read(tmp_path, "spans", [row]).labelled
    assert said(good) == [("Right.", 1.0)]
    assert said(bad) == [("So ", 1.0), ("wrong", 0.0), (".", 1.0)]


def test_a_response_that_recurs_is_learnt_from_once(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Q", "chosen": "A", "rejected": other, "labelled_side": "chosen", "error_spans": []}
        for other in ("B", "C")
    ]
    result = read(tmp_path, "spans", rows)
    assert (len(result.preferences), len(result.labelled), result.repeated) == (2, 1, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labelled_side": "both"}, "unknown_side"),
        ({"labelled_side": None}, "missing_field"),
        ({"error_spans": None}, "missing_field"),
        ({"error_spans": "0-1"}, "not_a_list"),
        ({"error_spans": [{"start": 0, "end": 2}]}, "bad_span"),
        ({"error_spans": [{"start": -1, "end": 1}]}, "bad_span"),
        ({"error_spans": [{"start": 1, "end": 1}]}, "bad_span"),
        ({"error_spans": [{"start": 0}]}, "bad_span"),
        ({"error_spans": [{"start": 0.0, "end": 1.0}]}, "bad_span"),
    ],
)
def test_unusable_spans(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    row = {"prompt": "Q", "chosen": "A", "rejected": "B", "labelled_side": "chosen", "error_spans": []}
    result = read(tmp_path, "spans", [row | change])
    assert (result.labelled, result.preferences, result.skipped) == ([], [], {reason: 1})


# --- steps -----------------------------------------------------------------------------------------------


PRM_ROW = {
    "id": "p1-circular",
    "error_type": "circular",
    "prompt": "Q",
    "chosen": ["Été.", "So 2."],
    "rejected": ["One.", "Two\nlines.", "Three."],
    "rejected_error_steps": [2],
}


def test_prmbench_rows_give_both_sides(tmp_path: Path) -> None:
    good, bad = read(tmp_path, "steps", [PRM_ROW]).labelled
    assert response_text(good.response.content) == "Été.\nSo 2."
    assert said(good) == [("Été.", 1.0), ("So 2.", 1.0)]
    assert said(bad) == [("One.", 1.0), ("Two\nlines.", 0.0), ("Three.", 1.0)]
    # "Été." is 6 bytes; the newline at 6 belongs to no step
    assert [(label.start, label.end) for label in good.response.labels] == [(0, 6), (7, 12)]


def test_rewordings_of_one_problem_are_one_group(tmp_path: Path) -> None:
    reworded = PRM_ROW | {"id": "p1-deception", "error_type": "deception", "prompt": "Q, in other words"}
    other = PRM_ROW | {"id": "p2-circular"}
    plain = {key: value for key, value in PRM_ROW.items() if key != "id"}
    groups = [x.group for x in read(tmp_path, "steps", [PRM_ROW, reworded, other | {"prompt": "R"}]).labelled]
    assert groups[0] == groups[1] == groups[2] == groups[3] != groups[4]
    assert read(tmp_path, "steps", [plain]).labelled[0].group == group_of("Q")


def test_stepwise_rows(tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "completions": ["a", "b", "c"], "labels": [True, None, False]}]
    (example,) = read(tmp_path, "steps", rows).labelled
    assert said(example) == [("a", 1.0), ("c", 0.0)]


def test_nothing_is_known_after_a_first_error(tmp_path: Path) -> None:
    steps = ["a", "b", "c"]
    rows = [
        {"prompt": "Q", "completions": steps, "first_error_step": 2},
        {"prompt": "R", "completions": steps, "first_error_step": 0},
    ]
    marked, sound = read(tmp_path, "steps", rows).labelled
    assert said(marked) == [("a", 1.0), ("b", 0.0)]
    assert said(sound) == [("a", 1.0), ("b", 1.0), ("c", 1.0)]
    rows = [{"prompt": "Q", "completions": steps, "labels": [True, False, True]}, PRM_ROW]
    declared = read(tmp_path, "steps", rows, first_error_only=True).labelled
    assert said(declared[0]) == [("a", 1.0), ("b", 0.0)]
    assert said(declared[2]) == [("One.", 1.0), ("Two\nlines.", 0.0)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (PRM_ROW | {"rejected_error_steps": [4]}, "bad_step_number"),
        (PRM_ROW | {"rejected_error_steps": [0]}, "bad_step_number"),
        (PRM_ROW | {"rejected_error_steps": [True]}, "bad_step_number"),
        (PRM_ROW | {"rejected_error_steps": []}, "not_a_list"),
        (PRM_ROW | {"chosen": ["a", " "]}, "empty_step"),
        (PRM_ROW | {"chosen": "a"}, "not_a_list"),
        ({"prompt": "Q", "completions": ["a", "b"], "labels": [True]}, "label_count"),
        ({"prompt": "Q", "completions": ["a"], "labels": [-1]}, "bad_label"),
        ({"prompt": "Q", "completions": ["a"], "labels": [None]}, "no_known_label"),
        ({"prompt": "Q", "completions": ["a"], "first_error_step": 2}, "bad_step_number"),
    ],
)
def test_unusable_steps(tmp_path: Path, row: Any, reason: str) -> None:
    result = read(tmp_path, "steps", [row])
    assert (result.labelled, result.skipped) == ([], {reason: 1})


# --- sentence scores -------------------------------------------------------------------------------------


def test_sentence_scores_are_scaled_and_averaged_over_criteria(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "Q", "completion": "Één. Two! ", "scores": [4, 1]},
        {"prompt": "R", "completion": "One. Two!", "scores": [[4, 0], [2, 2]]},
        {"prompt": "S", "completion": "One. Two!", "scores": [-1, 1], "score_min": -1, "score_max": 1},
    ]
    plain, criteria, declared = read(tmp_path, "sentence_scores", rows).labelled
    assert said(plain) == [("Één.", 1.0), ("Two!", 0.25)]
    assert said(criteria) == [("One.", 0.75), ("Two!", 0.25)]
    assert said(declared) == [("One.", 0.0), ("Two!", 1.0)]
    (ten,) = read(tmp_path, "sentence_scores", rows[:1], score_range=(0.0, 10.0)).labelled
    assert said(ten) == [("Één.", 0.4), ("Two!", 0.1)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": [1]}, "sentence_count"),
        ({"scores": [[1, 2], [1]]}, "sentence_count"),
        ({"scores": [1, 5]}, "score_out_of_range"),
        ({"scores": [1, "2"]}, "not_a_number"),
        ({"scores": [1, True]}, "not_a_number"),
        ({"scores": [1, float("nan")]}, "not_a_number"),
        ({"scores": [[1, 2], 3]}, "not_a_number"),
        ({"scores": []}, "not_a_list"),
        ({"score_min": 4, "score_max": 4}, "bad_score_range"),
    ],
)
def test_unusable_scores(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    row = {"prompt": "Q", "completion": "One. Two!", "scores": [1, 2]}
    result = read(tmp_path, "sentence_scores", [row | change])
    assert (result.labelled, result.skipped) == ([], {reason: 1})


# --- files -----------------------------------------------------------------------------------------------


def test_gzip_and_parquet_read_like_plain_lines(tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "chosen": [assistant("A")], "rejected": [assistant(str(n))]} for n in range(3)]
    plain = read(tmp_path, "preference", rows)
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n\n" for row in rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert len(plain.preferences) == 3
    assert read_source("preference", tmp_path / "rows.jsonl.gz") == plain
    assert read_source("preference", tmp_path / "rows.parquet") == plain


def test_the_name_is_folder_and_file(tmp_path: Path) -> None:
    row = {"prompt": "Q", "completions": ["a"], "labels": [True]}
    path = tmp_path / "prm" / "train.v1.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(row), encoding="utf-8")
    assert read_source("steps", path).labelled[0].source == "prm/train"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_source("spans", tmp_path / "none.jsonl")
    (tmp_path / "rows.txt").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="unknown type; allowed are"):
        read_source("spans", tmp_path / "rows.txt")
    whole = gzip.compress(b'{"prompt": "Q"}\n' * 1000)
    broken = {
        "cut.jsonl.gz": whole[:-20],
        "no.jsonl.gz": b"text",
        "no.parquet": b"text",
        "latin.jsonl": b'{"a": "\xe9"}',
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            read_source("spans", tmp_path / name)


def test_settings_that_cannot_be_right(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="allowed are preference, spans, steps, sentence_scores"):
        read_source("pairs", tmp_path / "x.jsonl")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the first number must be the lower one"):
        read_source("sentence_scores", tmp_path / "x.jsonl", score_range=(4.0, 0.0))


# --- real data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "rows", "pairs", "labelled", "repeated", "skipped"),
    [
        # 4 pairs have a side with an empty turn; counted, like the numbers below, by a script of its own
        ("preference", "hh-rlhf/harmless-base-test.jsonl.gz", 2312, 2308, 0, 0, {"empty_text": 4}),
        # 664 pairs of 243 questions, one labelled answer to each
        ("spans", "finegrained-rlhf/pairs.jsonl.gz", 664, 664, 243, 421, {}),
        # 58 of 3195 rows cannot be used; of the 2 × 3137 sides left, 1524 are solutions that recur
        (
            "steps",
            "prmbench/train.jsonl.gz",
            3195,
            0,
            4750,
            1524,
            {"bad_step_number": 57, "empty_step": 1},
        ),
        ("steps", "prmbench/test.jsonl.gz", 718, 0, 1105, 287, {"bad_step_number": 21, "empty_step": 1}),
    ],
)
def test_real_data_adds_up(
    kind: SourceKind,
    name: str,
    rows: int,
    pairs: int,
    labelled: int,
    repeated: int,
    skipped: dict[str, int],
) -> None:
    if not (DATA / name).is_file():
        pytest.skip(f"../shared/data/{name} is missing")
    result = read_source(kind, DATA / name)
    found = (result.rows, len(result.preferences), len(result.labelled), result.repeated, result.skipped)
    assert found == (rows, pairs, labelled, repeated, skipped)
    for example in result.labelled:
        text = response_text(example.response.content).encode()
        edges = [edge for label in example.response.labels for edge in (label.start, label.end)]
        assert edges == sorted(edges)
        assert edges[0] >= 0
        assert edges[-1] <= len(text)
        for label in example.response.labels:
            text[label.start : label.end].decode()  # never through the middle of a character


def test_real_spans_are_the_marked_characters() -> None:
    path = DATA / "finegrained-rlhf" / "pairs.jsonl.gz"
    if not path.is_file():
        pytest.skip("../shared/data/finegrained-rlhf/pairs.jsonl.gz is missing")
    faulty: dict[str, set[int]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            text = row[row["labelled_side"]]
            faulty[text] = {i for span in row["error_spans"] for i in range(span["start"], span["end"])}
    for example in read_source("spans", path).labelled:
        text = response_text(example.response.content)
        expected = b"".join(bytes([i not in faulty[text]]) * len(c.encode()) for i, c in enumerate(text))
        targets = b"".join(bytes([int(label.target)]) * (label.end - label.start) for label in example.response.labels)
        assert targets == expected
