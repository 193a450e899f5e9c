"""A hand-written record per format, with the labels that its rule gives, as the bytes that each one covers."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asr_data.errors import RowRejected
from asr_data.response import response_text
from asr_data.rows import first_records, open_source
from asr_data.rows.labelled import FORMATS, match, read
from asr_data.types import Completion

Pieces = list[tuple[str, float, str]]


def pieces(completion: Completion) -> Pieces:
    text = response_text(completion.content).encode()
    assert completion.labels is not None
    return [(text[label.start : label.end].decode(), label.reward, label.name) for label in completion.labels]


def completion(name: str, record: dict[str, Any]) -> tuple[Any, str, Pieces]:
    """Prompt, response text and labels of a format with one side."""
    prompt, (only,) = read(name, record)
    assert only.side == "completion"
    assert only.preferred
    return prompt, response_text(only.content), pieces(only)


def rejected(name: str, record: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(RowRejected) as caught:
        read(name, record)
    return caught.value.code, caught.value.message


def asked(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


# --- one record of each format -----------------------------------------------------------------------------


def rated(text: str, rating: int | None, flagged: bool | None = None) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": flagged}


def step(
    *completions: dict[str, Any], chosen: int | None = None, human: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"completions": list(completions), "human_completion": human, "chosen_completion": chosen}


PHASE_1 = {
    "question": {"problem": "1+1?", "pre_generated_steps": None},
    "label": {
        "steps": [
            step(rated("Añado.", 1), chosen=0),
            step(rated("No.", -1), rated("Let me see.", 0), chosen=1),
            step(rated("Bad.", -1), human={"text": "By hand.", "rating": None}),
            step(rated("Hm.", 1, flagged=True), chosen=0),
            step(rated("It is 2.", 1), chosen=0),
        ],
        "finish_reason": "solution",
    },
}
PHASE_2 = {
    "question": {"problem": "1+1?", "pre_generated_steps": ["First.", "Wrong.", "Later.", "Last."]},
    "label": {"steps": [step(rated("First.", 1), chosen=0), step(rated("Wrong.", -1), rated("Other.", 1))]},
}
SHEPHERD = {
    "input": "How many киви? Step 1: Two киви. ки\nStep 2: So 2. The answer is: 2 ки",
    "label": "How many киви? Step 1: Two киви. +\nStep 2: So 2. The answer is: 2 -",
    "task": "GSM8K",
}
TURNS = [
    {"role": "user", "content": "1+1? Step 1: One."},
    {"role": "assistant", "content": "+"},
    {"role": "user", "content": "Step 2: Three."},
    {"role": "assistant", "content": "-"},
]
RLHFLOW = {"conversations": TURNS}
STEPWISE = {"prompt": "1+1?", "completions": ["Eins.", "Zwei.", "Drei."], "labels": [True, None, False]}
APS = {
    "question": "1+1?",
    "reasoning_steps": [
        {"solution_prefix": "1+1?", "mc_value": 0.5},
        {"solution_prefix": "1+1?\n\n One.", "mc_value": 0.75},
        {"solution_prefix": "1+1?\n\nNo.", "mc_value": 0.0},
        {"solution_prefix": "1+1?\n\n One.\n\n Ünd two. ", "mc_value": 0.25},
        {"solution_prefix": "1+1?\n\n One.", "mc_value": 0.25},
        {"solution_prefix": "1+1?\n\n One.\n\nThree.", "mc_value": 0.0},
    ],
}
TREE = {
    "question": "1+1?",
    "reasoning_steps": {
        "text": "1+1?",
        "mc_value": 0.5,
        "children": [
            {"text": "Short.", "mc_value": 1.0, "children": []},
            {"text": "One.", "mc_value": 0.25, "children": [{"text": "Two.", "mc_value": 0.0, "children": None}]},
            {"text": "Un.", "mc_value": 0.25, "children": [{"text": "Deux.", "mc_value": 0.0, "children": []}]},
        ],
    },
}
PROCESS_BENCH = {"problem": "1+1?", "steps": ["One.", "Two.", "Three."], "label": 1, "final_answer_correct": False}
MISTAKE = {"input": "1+1?", "steps": ["One.", "Two.", "Three."], "answer": "3", "target": "2", "mistake_index": 0}
PRMBENCH = {
    "original_question": "1 + 1?",
    "modified_question": "1 + 1? ",
    "original_process": ["1. One.", "2. Two."],
    "modified_process": ["1. One.", "2. Drei.", "3. Done."],
    "error_steps": [2],
    "classification": "circular",
}
PRMBENCH_PAIRS = {
    "prompt": "1+1?",
    "chosen": PRMBENCH["original_process"],
    "rejected": PRMBENCH["modified_process"],
    "rejected_error_steps": [2],
}
SPANS = {
    "prompt": "When?",
    "chosen": "Été 1999 it was.",
    "rejected": "Never.",
    "labelled_side": "chosen",
    "error_spans": [{"start": 4, "end": 11, "type": "Unverifiable"}, {"start": 0, "end": 8, "type": "Irrelevant"}],
}
FEEDBACK = {
    "question": "When?",
    "passages": [["A", "b"]],
    "prediction 1": "Été 1999.",
    "feedback": {"errors": [{"start": 4, "end": 8, "error type": "Wrong-Grounding"}], "missing-info": []},
}
FAULTS = {
    "prompt": [{"role": "user", "content": "When?", "name": None}],
    "chosen": [{"role": "assistant", "content": "In été."}],
    "rejected": [{"role": "assistant", "content": "In été or so."}],
    "fault_spans": [{"start": 7, "end": 13, "kind": "hedge"}],
}
RAGTRUTH = {
    "prompt": "Summarise: é",
    "response": "É is a letter in Gaza, they say.",
    "quality": "good",
    "labels": [
        {"start": 14, "end": 21, "text": "in Gaza", "label_type": "Evident Baseless Info", "implicit_true": False},
        {"start": 23, "end": 31, "text": "they say", "label_type": "Subtle Baseless Info", "implicit_true": True},
    ],
}
HELPSTEER = {
    "prompt": "Hi\n<extra_id_1>Assistant\nHello\n\n<extra_id_1>User\nWho?",
    "response": "Ünd ich.",
    "helpfulness": 4,
    "correctness": 3,
    "coherence": 2,
    "complexity": 0,
    "verbosity": 0,
}
SENTENCES = {
    "prompt": "Who?",
    "response": "Ich bin da.  Und du? Nein.",
    "helpfulness": [4, 0, 1],
    "correctness": [4, 1, 1],
    "coherence": [4, 2, 1],
    "complexity": [4, 3, None],
    "verbosity": [4, 4, 1],
}
FIRST_ERROR = {"prompt": "1+1?", "completions": ["One.", "Two.", "Three."], "first_error_step": 2}
COMPLETION_SCORES = {"prompt": "Who?", "completion": "Ich bin da.  Und du? Nein.", "scores": [4, 1, None]}
CRITERIA_PAIRS = {
    "instruction": "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nWho?",
    "chosen": "Ich bin da. Und du?",
    "rejected": "1. Nein.",
    "chosen scores": [[4, 0], [4, 1], [4, 2], [0, 4], [0, 4]],
    "rejected scores": [[2], [1], [0], [4], [4]],
}
RECORDS: dict[str, dict[str, Any]] = {
    "prm800k": PHASE_1,
    "math_shepherd": SHEPHERD,
    "rlhflow": RLHFLOW,
    "trl_stepwise": STEPWISE,
    "first_error": FIRST_ERROR,
    "math_aps": APS,
    "math_aps_tree": TREE,
    "processbench": PROCESS_BENCH,
    "big_bench_mistake": MISTAKE,
    "prmbench": PRMBENCH,
    "prmbench_pairs": PRMBENCH_PAIRS,
    "finegrained_pairs": SPANS,
    "finegrained_feedback": FEEDBACK,
    "fault_pairs": FAULTS,
    "ragtruth": RAGTRUTH,
    "helpsteer": HELPSTEER,
    "sentence_scores": SENTENCES,
    "criteria_pairs": CRITERIA_PAIRS,
    "completion_scores": COMPLETION_SCORES,
}


# --- what they have in common ------------------------------------------------------------------------------


def test_names_and_sides() -> None:
    assert list(FORMATS) == list(RECORDS)
    for name, record in RECORDS.items():
        assert FORMATS[name].name == name
        _, completions = read(name, record)
        assert tuple(each.side for each in completions) == FORMATS[name].sides


@pytest.mark.parametrize("name", RECORDS)
def test_each_matches_its_own_records_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(RECORDS[name]) + "\n")
    source = open_source(path)
    records = first_records(source)
    assert match(source.schema, records) == [name]
    assert read(name, records[0]) == read(name, RECORDS[name])


@pytest.mark.parametrize("name", RECORDS)
def test_an_empty_record_is_rejected(name: str) -> None:
    assert rejected(name, {})[0] == "missing_column"


def test_wrong_types_and_lone_surrogates_are_rejected() -> None:
    assert rejected("trl_stepwise", STEPWISE | {"prompt": 3}) == ("wrong_type", "'prompt' is int, not a text")
    assert rejected("trl_stepwise", STEPWISE | {"completions": "a"})[0] == "wrong_type"
    assert rejected("trl_stepwise", STEPWISE | {"completions": ["a", 1, "c"]})[0] == "wrong_type"
    assert rejected("trl_stepwise", STEPWISE | {"completions": ["a", "b", "\ud800"]})[0] == "invalid_unicode"
    assert rejected("rlhflow", {"conversations": ["a"]})[0] == "wrong_type"
    assert rejected("prm800k", PHASE_1 | {"label": "a"})[0] == "wrong_type"
    assert rejected("fault_pairs", FAULTS | {"prompt": [{"role": "me", "content": "a"}]})[0] == "wrong_type"
    assert rejected("fault_pairs", FAULTS | {"chosen": "a"})[0] == "wrong_type"


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a record, keys and list items alike."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from paths(item, (*path, key))


@pytest.mark.parametrize("name", RECORDS)
def test_junk_anywhere_is_read_or_rejected(name: str) -> None:
    junk = [None, True, -1, 7, 0.5, float("nan"), float("inf"), "", "x", "\ud800", [], ["x"], [[]], [None], {}, [{}]]
    for path in paths(RECORDS[name]):
        for value in junk:
            record = copy.deepcopy(RECORDS[name])
            place = record
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            with contextlib.suppress(RowRejected):
                for each in read(name, record)[1]:
                    pieces(each)


# --- PRM800K -----------------------------------------------------------------------------------------------


def test_prm800k_follows_the_chosen_path() -> None:
    prompt, text, labels = completion("prm800k", PHASE_1)
    assert prompt == asked("1+1?")
    assert text == "Añado.\nLet me see.\nBy hand.\nHm.\nIt is 2."
    assert labels == [("Añado.", 1.0, "1"), ("Let me see.", 0.5, "0"), ("It is 2.", 1.0, "1")]
    _, (only,) = read("prm800k", PHASE_1)
    assert only.labels is not None
    assert [(label.start, label.end) for label in only.labels] == [(0, 7), (8, 19), (33, 41)]  # ñ is two bytes


def test_prm800k_ends_with_the_solutions_own_error_and_its_unknown_rest() -> None:
    _, text, labels = completion("prm800k", PHASE_2)
    assert text == "First.\nWrong.\nLater.\nLast."
    assert labels == [("First.", 1.0, "1"), ("Wrong.", 0.0, "-1")]
    other = PHASE_2 | {"question": {"problem": "1+1?", "pre_generated_steps": ["First.", "Else.", "Later."]}}
    assert completion("prm800k", other)[1] == "First.\nWrong."


def test_prm800k_given_up() -> None:
    nothing = {"completions": None, "human_completion": None, "chosen_completion": None}
    steps = [step(rated("One.", 1), chosen=0), nothing]
    assert completion("prm800k", PHASE_1 | {"label": {"steps": steps}})[1:] == ("One.", [("One.", 1.0, "1")])
    assert rejected("prm800k", PHASE_1 | {"label": {"steps": steps[::-1]}})[0] == "label_mismatch"


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [step(rated("One.", 1), chosen=1)],
        [step(rated("One.", 1), chosen=-1)],
        [step(rated("One.", 2), chosen=0)],
        [step(rated("One.", None), chosen=0)],
        [step(rated(" ", 1), chosen=0)],
    ],
)
def test_prm800k_rejects(steps: list[Any]) -> None:
    code = rejected("prm800k", PHASE_1 | {"label": {"steps": steps}})[0]
    assert code == ("label_mismatch" if steps else "empty_response")


# --- + and - -----------------------------------------------------------------------------------------------


def test_math_shepherd() -> None:
    prompt, text, labels = completion("math_shepherd", SHEPHERD)
    assert prompt == asked("How many киви?")
    assert text == "Step 1: Two киви.\nStep 2: So 2. The answer is: 2"
    assert labels == [("Step 1: Two киви.", 1.0, "+"), ("Step 2: So 2. The answer is: 2", 0.0, "-")]


def test_math_shepherd_unmarked_end_is_unknown() -> None:
    cut = {"input": SHEPHERD["input"] + "\nStep 3: A", "label": SHEPHERD["label"] + "\nStep 3: A"}
    _, text, labels = completion("math_shepherd", cut)
    assert text == "Step 1: Two киви.\nStep 2: So 2. The answer is: 2\nStep 3: A"
    assert len(labels) == 2


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("input", "no mark"),
        ("label", SHEPHERD["label"].replace(" +", " ?")),
        ("label", SHEPHERD["label"].replace("Two", "Six")),
        ("label", SHEPHERD["label"][:-1]),
        ("label", SHEPHERD["label"] + " +"),
    ],
)
def test_math_shepherd_rejects_what_does_not_fit(column: str, value: str) -> None:
    assert rejected("math_shepherd", SHEPHERD | {column: value})[0] == "label_mismatch"


def test_math_shepherd_needs_a_first_step() -> None:
    assert "no beginning" in rejected("math_shepherd", {"input": "1+1? It is 2 ки", "label": "1+1? It is 2 +"})[1]


def test_rlhflow() -> None:
    prompt, text, labels = completion("rlhflow", RLHFLOW)
    assert prompt == asked("1+1?")
    assert text == "Step 1: One.\nStep 2: Three."
    assert labels == [("Step 1: One.", 1.0, "+"), ("Step 2: Three.", 0.0, "-")]


def test_rlhflow_with_a_column_that_says_where_the_question_ends() -> None:
    turns = [{"role": "user", "content": "1+1? One."}, TURNS[1], {"role": "user", "content": "Three."}, TURNS[3]]
    assert "column 'prompt'" in rejected("rlhflow", {"conversations": turns})[1]
    assert "does not begin" in rejected("rlhflow", {"conversations": turns, "prompt": "2+2?"})[1]
    for column in ("prompt", "question"):
        prompt, text, labels = completion("rlhflow", {"conversations": turns, column: "1+1? "})
        assert prompt == asked("1+1?")
        assert text == "One.\n\nThree."
        assert labels == [("One.", 1.0, "+"), ("Three.", 0.0, "-")]


@pytest.mark.parametrize("turns", [[], TURNS[:1], TURNS[1:3], [TURNS[0], {"role": "assistant", "content": "yes"}]])
def test_rlhflow_rejects(turns: list[Any]) -> None:
    assert rejected("rlhflow", {"conversations": turns})[0] == "label_mismatch"


# --- lists of steps ----------------------------------------------------------------------------------------


def test_trl_stepwise() -> None:
    prompt, text, labels = completion("trl_stepwise", STEPWISE)
    assert prompt == asked("1+1?")
    assert text == "Eins.\nZwei.\nDrei."
    assert labels == [("Eins.", 1.0, "true"), ("Drei.", 0.0, "false")]
    assert completion("trl_stepwise", STEPWISE | {"labels": [0.25, 1, 0]})[2][0] == ("Eins.", 0.25, "0.25")


@pytest.mark.parametrize("labels", [[True], [None] * 3, [True, True, -1], [1, 1, 2], [1, 1, float("nan")]])
def test_trl_stepwise_rejects(labels: list[Any]) -> None:
    assert rejected("trl_stepwise", STEPWISE | {"labels": labels})[0] == "label_mismatch"


def test_a_step_without_text_is_rejected() -> None:
    assert rejected("trl_stepwise", STEPWISE | {"completions": ["a", " ", "c"]}) == (
        "label_mismatch",
        "step 2 is empty",
    )


@pytest.mark.parametrize(
    ("label", "known"),
    [(-1, [1.0, 1.0, 1.0]), (0, [0.0]), (1, [1.0, 0.0]), (2, [1.0, 1.0, 0.0]), (1.0, [1.0, 0.0])],
)
def test_first_error_formats_leave_later_steps_unknown(label: float, known: list[float]) -> None:
    steps = ["One.", "Two.", "Three."]
    expected = [(text, reward, "correct" if reward else "wrong") for text, reward in zip(steps, known, strict=False)]
    prompt, text, labels = completion("processbench", PROCESS_BENCH | {"label": label})
    assert (prompt, text, labels) == (asked("1+1?"), "One.\n\nTwo.\n\nThree.", expected)
    index = None if label == -1 else label
    prompt, text, labels = completion("big_bench_mistake", MISTAKE | {"mistake_index": index})
    assert (prompt, text, labels) == (asked("1+1?"), "One.\nTwo.\nThree.", expected)


@pytest.mark.parametrize(
    ("number", "known"), [(0, [1.0, 1.0, 1.0]), (1, [0.0]), (2, [1.0, 0.0]), (3.0, [1.0, 1.0, 0.0])]
)
def test_first_error_counts_from_one(number: float, known: list[float]) -> None:
    prompt, text, labels = completion("first_error", FIRST_ERROR | {"first_error_step": number})
    assert (prompt, text) == (asked("1+1?"), "One.\nTwo.\nThree.")
    assert [reward for _, reward, _ in labels] == known


@pytest.mark.parametrize("number", [4, -1, 0.5, True, "1"])
def test_first_error_of_no_step_is_rejected(number: Any) -> None:
    assert rejected("first_error", FIRST_ERROR | {"first_error_step": number})[0] == "label_mismatch"


@pytest.mark.parametrize("index", [3, -2, 0.5, True, "1"])
def test_first_error_out_of_range_is_rejected(index: Any) -> None:
    assert rejected("processbench", PROCESS_BENCH | {"label": index})[0] == "label_mismatch"
    assert rejected("big_bench_mistake", MISTAKE | {"mistake_index": index})[0] == "label_mismatch"


def test_null_is_no_label_of_processbench_and_minus_one_none_of_big_bench() -> None:
    assert rejected("processbench", PROCESS_BENCH | {"label": None})[0] == "missing_column"
    assert rejected("big_bench_mistake", MISTAKE | {"mistake_index": -1})[0] == "label_mismatch"
    assert rejected("big_bench_mistake", {"input": "a", "steps": ["b"]})[0] == "missing_column"


# --- MATH-APS ----------------------------------------------------------------------------------------------


def test_math_aps_takes_the_first_of_the_longest_chains() -> None:
    prompt, text, labels = completion("math_aps", APS)
    assert prompt == asked("1+1?")
    assert text == "One.\n\n Ünd two."
    assert labels == [("One.", 0.5, "0.5"), ("Ünd two.", 0.25, "0.25")]


def test_math_aps_rejects() -> None:
    def rows(*values: tuple[str, Any]) -> dict[str, Any]:
        return APS | {"reasoning_steps": [{"solution_prefix": text, "mc_value": value} for text, value in values]}

    assert rejected("math_aps", rows(("2+2? One.", 1.0)))[0] == "label_mismatch"
    assert rejected("math_aps", rows(("1+1? One.", 1.5)))[0] == "label_mismatch"
    assert rejected("math_aps", rows(("1+1? One.", None)))[0] == "missing_column"
    assert rejected("math_aps", rows(("1+1?", 1.0)))[0] == "empty_response"
    assert rejected("math_aps", rows())[0] == "empty_response"


def test_math_aps_tree_takes_the_first_of_the_longest_paths() -> None:
    prompt, text, labels = completion("math_aps_tree", TREE)
    assert (prompt, text) == (asked("1+1?"), "One.\n\nTwo.")
    assert labels == [("One.", 0.25, "0.25"), ("Two.", 0.0, "0")]
    bare = TREE | {"reasoning_steps": {"text": "1+1?", "mc_value": 0.5, "children": []}}
    assert rejected("math_aps_tree", bare)[0] == "empty_response"


# --- PRMBench ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "question"), [("prmbench", "1 + 1? "), ("prmbench_pairs", "1+1?")])
def test_prmbench(name: str, question: str) -> None:
    prompt, (chosen, rejected_) = read(name, RECORDS[name])
    assert prompt == asked(question)
    assert (chosen.preferred, rejected_.preferred) == (True, False)
    assert chosen.content == [{"role": "assistant", "content": "1. One.\n2. Two."}]
    assert pieces(chosen) == [("1. One.", 1.0, "correct"), ("2. Two.", 1.0, "correct")]
    assert pieces(rejected_) == [("1. One.", 1.0, "correct"), ("2. Drei.", 0.0, "wrong"), ("3. Done.", 1.0, "correct")]


@pytest.mark.parametrize("numbers", [[], [0], [4], [1.5], [True]])
def test_prmbench_rejects_numbers_of_no_step(numbers: list[Any]) -> None:
    assert rejected("prmbench", PRMBENCH | {"error_steps": numbers})[0] == "label_mismatch"
    assert rejected("prmbench_pairs", PRMBENCH_PAIRS | {"rejected_error_steps": numbers})[0] == "label_mismatch"


def test_prmbench_of_two_questions_is_no_pair() -> None:
    assert rejected("prmbench", PRMBENCH | {"original_question": "1 + 2?"})[0] == "prompt_mismatch"


# --- spans -------------------------------------------------------------------------------------------------


def test_finegrained_pairs_keep_their_texts_and_label_one_side() -> None:
    prompt, (chosen, rejected_) = read("finegrained_pairs", SPANS)
    assert (prompt, chosen.content, rejected_.content) == ("When?", "Été 1999 it was.", "Never.")
    assert pieces(chosen) == [
        ("Été ", 0.0, "Irrelevant"),
        ("1999", 0.0, "Irrelevant+Unverifiable"),
        (" it", 0.0, "Unverifiable"),
        ("was.", 1.0, "correct"),
    ]
    assert chosen.labels is not None
    assert [(label.start, label.end) for label in chosen.labels] == [(0, 6), (6, 10), (10, 13), (14, 18)]
    assert rejected_.labels == ()
    other = SPANS | {"labelled_side": "rejected", "error_spans": []}
    _, (chosen, rejected_) = read("finegrained_pairs", other)
    assert chosen.labels == ()
    assert pieces(rejected_) == [("Never.", 1.0, "correct")]


@pytest.mark.parametrize("edges", [(-1, 3), (3, 3), (4, 3), (0, 17), (0.5, 3)])
def test_spans_out_of_the_text_are_rejected(edges: tuple[float, float]) -> None:
    spans = [{"start": edges[0], "end": edges[1], "type": "a"}]
    assert rejected("finegrained_pairs", SPANS | {"error_spans": spans})[0] == "label_mismatch"


def test_the_labelled_side_is_one_of_two() -> None:
    assert rejected("finegrained_pairs", SPANS | {"labelled_side": "both"})[0] == "label_mismatch"


def test_finegrained_feedback() -> None:
    prompt, text, labels = completion("finegrained_feedback", FEEDBACK)
    assert (prompt, text) == (asked("When?"), "Été 1999.")
    assert labels == [("Été", 1.0, "correct"), ("1999", 0.0, "Wrong-Grounding"), (".", 1.0, "correct")]


def test_fault_pairs_know_the_chosen_side_to_be_good() -> None:
    prompt, (chosen, rejected_) = read("fault_pairs", FAULTS)
    assert prompt == asked("When?")
    assert pieces(chosen) == [("In été.", 1.0, "correct")]
    assert pieces(rejected_) == [("In été", 1.0, "correct"), ("or so.", 0.0, "hedge")]
    nameless = FAULTS | {"fault_spans": [{"start": 7, "end": 13}]}
    assert pieces(read("fault_pairs", nameless)[1][1])[1] == ("or so.", 0.0, "wrong")


def test_ragtruth() -> None:
    prompt, text, labels = completion("ragtruth", RAGTRUTH)
    assert (prompt, text) == (asked("Summarise: é"), RAGTRUTH["response"])
    assert labels == [
        ("É is a letter", 1.0, "correct"),
        ("in Gaza", 0.0, "Evident Baseless Info"),
        (",", 1.0, "correct"),
        (".", 1.0, "correct"),
    ]


def test_ragtruth_rejects() -> None:
    moved = [{**RAGTRUTH["labels"][0], "start": 13, "end": 20}]
    assert "the label says" in rejected("ragtruth", RAGTRUTH | {"labels": moved})[1]
    assert rejected("ragtruth", RAGTRUTH | {"quality": "incorrect_refusal"})[0] == "label_mismatch"
    assert "source_info.jsonl" in rejected("ragtruth", RAGTRUTH | {"prompt": None})[1]
    assert rejected("ragtruth", RAGTRUTH | {"response": " ", "labels": []})[0] == "empty_response"


def test_what_is_wrong_prevails_over_what_is_unknown() -> None:
    first, second = RAGTRUTH["labels"]
    labels = [first, {**second, "start": 11, "end": 31, "text": None}]
    assert completion("ragtruth", RAGTRUTH | {"labels": labels})[2] == [
        ("É is a lett", 1.0, "correct"),
        ("in Gaza", 0.0, "Evident Baseless Info"),
        (".", 1.0, "correct"),
    ]


# --- scores ------------------------------------------------------------------------------------------------


def test_helpsteer() -> None:
    prompt, text, labels = completion("helpsteer", HELPSTEER)
    assert prompt == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Who?"},
    ]
    assert (text, labels) == ("Ünd ich.", [("Ünd ich.", 0.75, "4,3,2")])  # (4 + 3 + 2) / 3 / 4
    assert completion("helpsteer", HELPSTEER | {"prompt": "Who?"})[0] == asked("Who?")
    assert rejected("helpsteer", HELPSTEER | {"coherence": 5})[0] == "label_mismatch"
    assert rejected("helpsteer", HELPSTEER | {"coherence": None})[0] == "missing_column"


def test_sentence_scores() -> None:
    prompt, text, labels = completion("sentence_scores", SENTENCES)
    assert (prompt, text) == (asked("Who?"), SENTENCES["response"])
    assert labels == [
        ("Ich bin da.", 1.0, "4,4,4,4,4"),
        ("Und du?", 0.25, "0,1,2,3,4"),
    ]  # (0 + 1 + 2) / 3 / 4; the third is unknown
    assert rejected("sentence_scores", SENTENCES | {"verbosity": [4, 4]})[0] == "label_mismatch"
    assert rejected("sentence_scores", SENTENCES | {"verbosity": [4, 5, 4]})[0] == "label_mismatch"


def test_completion_scores() -> None:
    prompt, text, labels = completion("completion_scores", COMPLETION_SCORES)
    assert (prompt, text) == (asked("Who?"), COMPLETION_SCORES["completion"])
    assert labels == [("Ich bin da.", 1.0, "4"), ("Und du?", 0.25, "1")]
    nested = COMPLETION_SCORES | {"scores": [[4, 0, 1], [2, 2, 1]]}
    assert [reward for _, reward, _ in completion("completion_scores", nested)[2]] == [0.75, 0.25, 0.25]
    declared = COMPLETION_SCORES | {"scores": [-1, 1, 0], "score_min": -1, "score_max": 1}
    assert [reward for _, reward, _ in completion("completion_scores", declared)[2]] == [0.0, 1.0, 0.5]
    turns = COMPLETION_SCORES | {
        "prompt": asked("Who?"),
        "completion": [{"role": "assistant", "content": COMPLETION_SCORES["completion"]}],
    }
    assert completion("completion_scores", turns) == (prompt, text, labels)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scores": [1, 2]}, "label_mismatch"),
        ({"scores": [[1, 2, 3], [1]]}, "label_mismatch"),
        ({"scores": [1, 5, 1]}, "label_mismatch"),
        ({"scores": [1, "2", 1]}, "label_mismatch"),
        ({"scores": [1, True, 1]}, "label_mismatch"),
        ({"scores": [1, float("nan"), 1]}, "label_mismatch"),
        ({"scores": [[1, 2, 3], 3]}, "label_mismatch"),
        ({"scores": []}, "label_mismatch"),
        ({"scores": None}, "missing_column"),
        ({"score_min": 4, "score_max": 4}, "label_mismatch"),
        ({"score_max": "4"}, "wrong_type"),
    ],
)
def test_completion_scores_that_do_not_fit(change: dict[str, Any], code: str) -> None:
    assert rejected("completion_scores", COMPLETION_SCORES | change)[0] == code


def test_criteria_pairs() -> None:
    prompt, (chosen, rejected_) = read("criteria_pairs", CRITERIA_PAIRS)
    assert [(turn["role"], turn["content"]) for turn in prompt] == [  # type: ignore[index]
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Who?"),
    ]
    assert (chosen.preferred, rejected_.preferred) == (True, False)
    # (4 + 4 + 4) / 3 / 4 and (0 + 1 + 2) / 3 / 4: complexity and verbosity do not count
    assert pieces(chosen) == [("Ich bin da.", 1.0, "4,4,4,0,0"), ("Und du?", 0.25, "0,1,2,4,4")]
    assert pieces(rejected_) == [("1. Nein.", 0.25, "2,1,0,4,4")]
    assert chosen.labels is not None
    assert [label.scores for label in chosen.labels] == [(1, 1, 1, 0, 0), (0, 0.25, 0.5, 1, 1)]


@pytest.mark.parametrize(
    "names",
    [
        {"instruction": "Instruction", "chosen": "Chosen", "rejected": "Rejected"},
        {"instruction": "prompt", "chosen scores": "chosen_scores", "rejected scores": "rejected_scores"},
    ],
)
def test_criteria_pairs_in_other_spellings(names: dict[str, str]) -> None:
    assert read("criteria_pairs", {names.get(key, key): one for key, one in CRITERIA_PAIRS.items()}) == read(
        "criteria_pairs", CRITERIA_PAIRS
    )


def test_a_side_without_scores_is_unknown() -> None:
    _, (chosen, rejected_) = read("criteria_pairs", CRITERIA_PAIRS | {"chosen scores": None})
    assert (chosen.labels, pieces(rejected_)) == ((), [("1. Nein.", 0.25, "2,1,0,4,4")])


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([[4], [4], [4], [4]], "holds 4 lists; there are 5 criteria: helpfulness"),
        ([[4, 1]] * 5, "'rejected scores': 2, 2, 2, 2, 2 scores for 1 sentences"),
        ([[4]] * 4 + [[4, 4]], "1, 1, 1, 1, 2 scores for 1 sentences"),
        ([[4]] * 4 + [[5]], "a score is 5, not a number from 0 to 4"),
        ([[4]] * 4 + [[-1]], "a score is -1"),
        ([[4]] * 4 + [[True]], "a score is True"),
        ([[4]] * 4 + [["4"]], "a score is '4'"),
        ([[4]] * 4 + [[float("nan")]], "a score is nan"),
        ([4, 4, 4, 4, 4], "not a list of scores"),
        ([[None]] * 5, "no label"),
    ],
)
def test_criteria_pairs_that_do_not_fit(scores: list[Any], said: str) -> None:
    code, message = rejected("criteria_pairs", CRITERIA_PAIRS | {"rejected scores": scores})
    assert code == "label_mismatch"
    assert said in message


def test_five_lists_are_the_criteria_and_other_numbers_have_no_names() -> None:
    five = COMPLETION_SCORES | {"scores": [[4, 0, 4], [4, 0, 4], [4, 0, 4], [0, 4, 0], [0, 4, 0]]}
    assert [reward for _, reward, _ in completion("completion_scores", five)[2]] == [1.0, 0.0, 1.0]
