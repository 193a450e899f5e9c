from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from asr_data.errors import ConfigError, InputError
from asr_data.response import response_text
from asr_data.rows import Row, detect, first_records, open_source, read_rows
from asr_data.training.config import SourceConfig
from asr_data.training.examples import TrainingExample, examples_of
from asr_data.training.sources import SourceData, read_source, read_sources

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def read(tmp_path: Path, rows: list[Any], words: str = "") -> SourceData:
    path = write(tmp_path / "rows.jsonl", rows)
    return read_source(SourceConfig.model_validate(f"{path}:{words}" if words else str(path)))


def said(example: TrainingExample) -> list[tuple[str, float]]:
    """The known targets of an example with the text that their bytes hold."""
    (completion,) = example.row.completions
    text, position, out = response_text(completion.content).encode(), 0, []
    assert example.targets is not None
    for end, reward in zip(example.targets.span_end.tolist(), example.targets.span_reward.tolist(), strict=True):
        if reward == reward:
            out.append((text[position:end].decode(), reward))
        position = end
    return out


def labelled(data: SourceData) -> list[TrainingExample]:
    return [example for example in data.examples if example.goal == "labels"]


PAIR = {"prompt": "Q", "chosen": "A", "rejected": "B"}
MARKED = {
    "prompt": "Q",
    "chosen": "Café is 😀 bad 中文.",
    "rejected": "Other.",
    "labelled_side": "chosen",
    # unsorted, two that overlap: "😀 bad" = 8..13 and "bad 中" = 10..15; "Café" = 0..4
    "error_spans": [
        {"start": 10, "end": 15, "type": "a"},
        {"start": 0, "end": 4, "type": "a"},
        {"start": 8, "end": 13, "type": "a"},
    ],
}


def test_spans_leave_the_white_space_beside_them_unknown(tmp_path: Path) -> None:
    data = read(tmp_path, [MARKED])
    (example,) = labelled(data)
    assert said(example) == [("Café", 0.0), ("is", 1.0), ("😀 bad 中", 0.0), ("文.", 1.0)]
    assert [one.goal for one in data.examples] == ["pair", "labels"]


def test_both_sides_can_be_marked(tmp_path: Path) -> None:
    row = {
        "prompt": "Q",
        "chosen": "So it is.",
        "rejected": "So it was.",
        "chosen_spans": [],
        "rejected_spans": [{"start": 6, "end": 9, "type": "tense", "severity": "minor"}],
    }
    good, bad = labelled(read(tmp_path, [row]))
    assert said(good) == [("So it is.", 1.0)]
    assert said(bad) == [("So it", 1.0), ("was", 0.0), (".", 1.0)]


def test_steps_after_a_first_error_are_unknown(tmp_path: Path) -> None:
    steps = ["a", "b", "c"]
    rows: list[Any] = [{"prompt": f"Q{n}", "completions": steps, "first_error_step": n} for n in (2, 0)]
    marked, sound = labelled(read(tmp_path, rows))
    assert said(marked) == [("a\n", 1.0), ("b", 0.0)]
    assert said(sound) == [("a\n", 1.0), ("b\n", 1.0), ("c", 1.0)]
    rows = [{"prompt": "Q", "completions": steps, "labels": [True, None, False]}]
    assert [said(one) for one in labelled(read(tmp_path, rows))] == [[("a", 1.0), ("c", 0.0)]]


def test_sentence_scores(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Q", "completion": "Één. Two! ", "scores": [4, 1]},
        {"prompt": "R", "completion": "1. One.\n2. Two!", "scores": [4, None]},
    ]
    plain, unknown = labelled(read(tmp_path, rows))
    assert said(plain) == [("Één.", 1.0), ("Two!", 0.25)]
    assert said(unknown) == [("1. One.", 1.0)]
    nested = [{"prompt": "R", "completion": "One. Two!", "scores": [[4, 0], [2, 2]]}]
    assert [said(one) for one in labelled(read(tmp_path, nested))] == [[("One.", 0.75), ("Two!", 0.25)]]
    declared = [{"prompt": "S", "completion": "One. Two!", "scores": [-1, 1], "score_min": -1, "score_max": 1}]
    assert [said(one) for one in labelled(read(tmp_path, declared))] == [[("One.", 0.0), ("Two!", 1.0)]]


def test_a_response_that_recurs_is_learnt_from_once(tmp_path: Path) -> None:
    rows = [{**MARKED, "rejected": other} for other in ("B", "C")]
    data = read(tmp_path, rows)
    assert ([one.goal for one in data.examples], data.repeated) == (["pair", "labels", "pair"], 1)
    assert "1 labelled responses occur more than once" in "\n".join(data.summary())


def test_what_is_left_out_is_counted_named_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [PAIR, {**PAIR, "chosen": "B"}, "{not json", PAIR, {**PAIR, "chosen": None}]
    with caplog.at_level(logging.INFO, logger="asr_data.training"):
        data = read(tmp_path, rows)
    assert (data.rows, data.used, len(data.examples)) == (5, 2, 2)
    assert data.left_out == {"identical_sides": 1, "invalid_json": 1, "missing_column": 1}
    lines = data.summary()
    assert lines[1] == "  2 of 5 rows used: 2 pairs"
    assert "  1 rows left out, identical_sides: row 1: chosen and rejected are the same" in lines
    assert "rows.jsonl, row 1: left out, identical_sides" in caplog.text


def test_columns_are_named_as_for_run(tmp_path: Path) -> None:
    row = {"q": "Q", "good": "One. Two!", "bad": "No.", "marks": [-1, 1]}
    words = "prompt=q,chosen=good,rejected=bad,chosen_labels=marks,scale=-1..1"
    data = read(tmp_path, [row], words)
    assert [said(one) for one in labelled(data)] == [[("One. ", 0.0), ("Two!", 1.0)]]
    assert "chosen_labels=marks" in data.layout


def test_verdicts_of_single_responses(tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "completion": "A", "label": n == 0} for n in range(2)]
    data = read(tmp_path, rows)
    assert [(one.goal, one.row.completions[0].preferred) for one in data.examples] == [
        ("verdict", True),
        ("verdict", False),
    ]


@pytest.mark.parametrize(
    ("rows", "words", "error", "message"),
    [
        ([{"prompt": "Q", "completion": "A"}], "", InputError, "holds no preferences or labels: prompts with one"),
        ([PAIR], "labels", InputError, "holds no labels"),
        (
            [{**PAIR, "chosen": "B"}],
            "",
            InputError,
            r"no row can be used:\n.*\n  0 of 1 rows used: nothing\n.*identical",
        ),
        ([PAIR], "group=document", ConfigError, "no such column; there are prompt, chosen, rejected"),
        ([{"text": "A"}], "", InputError, r"rows.jsonl: the columns fit no layout:\n  text  string: could be prompt"),
    ],
)
def test_sources_that_teach_nothing(
    tmp_path: Path, rows: list[Any], words: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(tmp_path, rows, words)


def test_names_are_folder_and_file_and_told_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / folder / "prm" / "train.v1.jsonl", [PAIR]) for folder in "ab"]
    sources = read_sources([SourceConfig(input=str(path)) for path in paths])
    assert [source.name for source in sources] == ["prm/train (1)", "prm/train (2)"]
    assert read_source(SourceConfig(input=str(paths[0]))).name == "prm/train"


# --- real data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rows", "used", "pairs", "verdicts", "responses", "repeated"),
    [
        ("openr/samples_prm800k.jsonl", 6, 6, 0, 0, 6, 0),
        ("openr/samples_math-shepherd.jsonl", 7, 7, 0, 0, 7, 0),
        ("openr/samples_math-aps.jsonl", 3, 3, 0, 0, 3, 0),
        ("openr/samples_math-aps-tree.jsonl", 3, 3, 0, 0, 3, 0),
        ("llama-factory/dpo_en_demo.json", 300, 300, 300, 0, 0, 0),
        ("llama-factory/kto_en_demo.json", 300, 300, 0, 300, 0, 0),
        # 4 pairs have a side with an empty turn; counted, like the numbers below, by a script of its own
        ("hh-rlhf/harmless-base-test.jsonl.gz", 2312, 2308, 2308, 0, 0, 0),
        # 664 pairs of 243 questions, one labelled answer to each
        ("finegrained-rlhf/pairs.jsonl.gz", 664, 664, 664, 0, 243, 421),
        # 58 of 3195 rows cannot be used; of the 2 × 3137 sides left, 1524 are solutions that recur
        ("prmbench/train.jsonl.gz", 3195, 3137, 3137, 0, 4750, 1524),
        ("prmbench/test.jsonl.gz", 718, 696, 696, 0, 1105, 287),
        ("wmt-mqm/news-ende.jsonl.gz", 119, 119, 119, 0, 226, 12),
        ("wmt-mqm/ted-zhen.jsonl.gz", 115, 115, 115, 0, 230, 0),
        ("mr-ben/first-error.jsonl.gz", 1223, 1223, 1223, 0, 2446, 0),
        ("humanevalpack/bugs.jsonl.gz", 410, 410, 410, 0, 820, 0),
    ],
)
def test_real_data_adds_up(
    name: str, rows: int, used: int, pairs: int, verdicts: int, responses: int, repeated: int
) -> None:
    if not (DATA / name).is_file():
        pytest.skip(f"../shared/data/{name} is missing")
    data = read_source(SourceConfig(input=str(DATA / name)))
    goals = [example.goal for example in data.examples]
    found = (data.rows, data.used, *(goals.count(goal) for goal in ("pair", "verdict", "labels")), data.repeated)  # type: ignore[arg-type]
    assert found == (rows, used, pairs, verdicts, responses, repeated)
    assert sum(data.left_out.values()) == rows - used


def test_real_spans_are_the_marked_characters() -> None:
    """Every byte of the 664 labelled sides: 0 in a span, 1 outside of it, unknown for white space beside one."""
    path = DATA / "finegrained-rlhf" / "pairs.jsonl.gz"
    if not path.is_file():
        pytest.skip("../shared/data/finegrained-rlhf/pairs.jsonl.gz is missing")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        raw = [json.loads(line) for line in lines]
    source = open_source(path)
    layout = detect(source.schema, first_records(source))
    count = wrong = 0
    for row in (row for batch in read_rows(source, layout, 500) for row in batch):
        assert isinstance(row, Row)
        (example,) = examples_of(row, SourceConfig(input="x", learn="labels"), verdicts=False)
        record = raw[row.index]
        wanted = by_hand(record[record["labelled_side"]], record["error_spans"])
        targets = example.targets
        assert targets is not None
        found, position = [], 0
        for end, reward in zip(targets.span_end.tolist(), targets.span_reward.tolist(), strict=True):
            found += [None if reward != reward else reward] * (end - position)
            position = end
        count += len(wanted)
        wrong += sum(a != b for a, b in zip(found, wanted, strict=True))
    assert (wrong, count) == (0, 277_255)


def by_hand(text: str, spans: list[dict[str, Any]]) -> list[float | None]:
    marked = {at for span in spans for at in range(span["start"], span["end"])}
    out: list[float | None] = [0.0 if at in marked else 1.0 for at in range(len(text))]
    at = 0
    while at < len(text):  # a run of unmarked white space that touches a mark or the text's end
        end = at
        while end < len(text) and end not in marked and text[end].isspace():
            end += 1
        if end > at:
            touches = at == 0 or end == len(text) or at - 1 in marked or end in marked
            line_end = "\n" in text[at:end] and at > 0  # belongs to what stands before it, as in ``run --kind labels``
            value = None if touches else 1.0
            if touches and line_end:
                value = out[at - 1]
            out[at:end] = [value] * (end - at)
        at = max(end, at + 1)
    return [value for value, character in zip(out, text, strict=True) for _ in character.encode()]


def test_files_that_are_not_read_are_named(tmp_path: Path) -> None:
    write(tmp_path / "rows" / "a.jsonl", [PAIR])
    write(tmp_path / "rows" / "b.csv", ["prompt,chosen,rejected", "Q,A,B"])
    data = read_source(SourceConfig.model_validate(f"{tmp_path / 'rows'}:split=train"))
    assert any("b.csv" in line for line in data.summary())


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "rows.jsonl", [PAIR] * 4)

    def reading(*args: Any) -> Any:
        path.write_text(path.read_text(encoding="utf-8").replace('"A"', '"C"'), encoding="utf-8")
        return read_rows(*args)

    monkeypatch.setattr("asr_data.training.sources.read_rows", reading)
    with pytest.raises(InputError, match="the input changed while it was being read"):
        read_source(SourceConfig.model_validate(str(path)))
