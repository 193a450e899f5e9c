from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asr_data.config import MaskConfig
from asr_data.errors import CorruptFileError, OutputExistsError, StorageError
from asr_data.labelling import Entry, LabelJournal, Mark, agreements, gold_spans, last_done, read_entries
from asr_data.training.config import SourceConfig
from asr_data.training.sources import read_source

TEXT = "The answer is five. Or so."


def entry(*marks: tuple[int, int], who: str = "anna", status: str = "done", row: int = 3, **more: Any) -> Entry:
    made = tuple(Mark(start=start, end=end, type="factual", severity="major") for start, end in marks)
    spans = made if status == "done" else None
    given = {"asr_row": row, "side": "rejected", "annotator": who, "status": status, "prompt": "Two and two?"}
    return Entry.model_validate({**given, "completion": TEXT, "marks": made, "completion_spans": spans, **more})


Open = Callable[[Path], LabelJournal]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens journals, and closes them at the end."""
    found: list[LabelJournal] = []

    def make(path: Path) -> LabelJournal:
        found.append(LabelJournal(path))
        return found[-1]

    yield make
    for journal in found:
        journal.close()


def test_a_line_is_on_disk_when_it_was_added(tmp_path: Path, opened: Open) -> None:
    journal = opened(tmp_path / "labels.jsonl")
    journal.add(entry((14, 18), status="open"))
    assert [json.loads(line)["status"] for line in journal.path.read_text(encoding="utf-8").splitlines()] == ["open"]
    journal.add(entry((14, 18)))
    journal.close()
    assert read_entries(journal.path) == [entry((14, 18), status="open"), entry((14, 18))]
    again = opened(journal.path)
    assert again.latest("anna")[3, 0, "rejected"].status == "done"
    assert again.latest("bert") == {}


def test_a_line_that_a_crash_cut_short_is_dropped_and_the_rest_is_kept(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "labels.jsonl"
    journal = opened(path)
    journal.add(entry((14, 18)))
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert read_entries(path) == [entry((14, 18))]
    journal = opened(path)
    journal.add(entry(row=4))
    assert read_entries(path) == [entry((14, 18)), entry(row=4)]


def test_killed_after_any_line_nothing_is_lost(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "labels.jsonl"
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom asr_data.labelling import Entry, LabelJournal\n"
        "journal = LabelJournal(Path(sys.argv[1]))\n"
        "for line in sys.stdin.buffer.read().splitlines(): journal.add(Entry.model_validate_json(line))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    lines = [entry((0, 3), status="open"), entry((0, 3)), entry((4, 10))]
    given = b"\n".join(line.model_dump_json().encode() for line in lines)
    done = subprocess.run([sys.executable, "-c", program, str(path)], input=given, check=False)
    assert done.returncode == -9
    assert last_done(read_entries(path)) == {("anna", 3, 0, "rejected"): entry((4, 10))}
    opened(path).close()  # the lock went with the process


def test_a_second_judgement_takes_the_place_of_the_first(tmp_path: Path, opened: Open) -> None:
    journal = opened(tmp_path / "labels.jsonl")
    journal.add(entry((0, 3)))
    journal.add(entry((4, 10), who="bert"))
    journal.add(entry((14, 18), status="open"))
    assert read_entries(journal.path)[0].completion_spans is not None  # until the second one is done
    journal.add(entry((14, 18)))
    found = read_entries(journal.path)
    assert found == journal.entries
    assert [one.status for one in found] == ["replaced", "done", "open", "done"]
    assert found[0].marks == entry((0, 3)).marks  # nothing that was said is lost
    with pytest.raises(OutputExistsError, match="another asr-annotate view is labelling into it now"):
        opened(journal.path)  # the lock went over to the new file
    assert list(tmp_path.iterdir()) == [journal.path]
    journal.add(entry(row=5))
    assert len(read_entries(journal.path)) == 5


def test_one_process_at_a_time(tmp_path: Path, opened: Open) -> None:
    journal = opened(tmp_path / "labels.jsonl")
    with pytest.raises(OutputExistsError, match=r"labels\.jsonl: another asr-annotate view is labelling"):
        opened(journal.path)
    journal.close()
    opened(journal.path).close()


def test_what_is_no_journal(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"prompt": "mine"}\n', encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"labels\.jsonl, line 1: not a line of a journal of labels: asr_row: "):
        opened(path)
    assert path.read_text(encoding="utf-8") == '{"prompt": "mine"}\n'
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "elsewhere.jsonl")
    with pytest.raises(OutputExistsError, match="is a symbolic link"):
        opened(link)
    with pytest.raises(StorageError, match="cannot be written"):
        opened(tmp_path / "nowhere" / "labels.jsonl")


def test_a_full_disk_keeps_no_half_line(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path / "labels.jsonl")
    journal.add(entry((0, 3)))
    before = journal.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        for one in (entry(row=4), entry((4, 10))):  # appended; and written anew
            with pytest.raises(StorageError, match="No space left on device; the label is not kept"):
                journal.add(one)
    assert last_done(read_entries(journal.path)) == last_done([entry((0, 3))])
    assert journal.path.read_bytes() == before
    assert len(journal.entries) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"marks": [{"start": 5, "end": 5, "type": "x", "severity": "major"}]},
        {"marks": [{"start": 0, "end": 99, "type": "x", "severity": "major"}]},
        {"marks": [{"start": 0, "end": 2, "type": "x", "severity": "awful"}]},
        {"status": "open"},
        {"asr_row": -1},
        {"more": 1},
    ],
)
def test_lines_that_do_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Entry.model_validate({**entry((0, 3)).model_dump(), **wrong})


# --- readers ---------------------------------------------------------------------------------------------


def test_a_journal_is_training_data_as_it_stands(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "labels.jsonl"
    journal = opened(path)
    well = entry(row=4, completion="All is well.")
    for one in (entry((14, 18), status="open"), entry((14, 18)), well, entry(row=5, status="skipped")):
        journal.add(one)
    data = read_source(SourceConfig(input=str(path)))
    assert (data.rows, data.used, len(data.examples)) == (4, 2, 2)
    faulty, sound = data.examples
    # bytes 14 to 18 are wrong, the rest is right, white space beside the fault is unknown
    assert faulty.targets is not None
    assert sound.targets is not None
    known = dict(zip(faulty.targets.span_end.tolist(), faulty.targets.span_reward.tolist(), strict=True))
    assert (known[18], known[len(TEXT)]) == (0.0, 1.0)
    assert set(sound.targets.span_reward.tolist()) == {1.0}


def test_a_journal_is_gold_for_evaluate(annotate: Any, make_tokenizer: Any, tmp_path: Path, opened: Open) -> None:
    from asr_data.evaluation import GoldOptions, evaluate

    annotated = annotate(mask=MaskConfig())
    rows = [row for batch in annotated.data_batches() for row in batch.to_pylist()]
    path = tmp_path / "labels.jsonl"
    journal = opened(path)
    for row, marks in zip(rows[:3], [[(0, 3)], [], [(0, 5)]], strict=True):
        journal.add(entry(*marks, row=row["asr_row"], prompt=row["prompt"], completion=row["rejected"]))
    journal.add(entry((0, 2), row=77, prompt="another", completion="text of no row"))
    found = evaluate(annotated.path, make_tokenizer(), options=GoldOptions(gold=str(path)))
    assert (found.evaluated.rows, found.evaluated.without_gold) == (3, 1)
    assert found.evaluated.gold == f"labels in {path}"
    assert found.evaluated.faulty_tokens > 0
    assert found.estimates["token_auroc"].items == 2  # responses with right and wrong words


# --- several people --------------------------------------------------------------------------------------


def test_what_most_people_mark_is_a_fault() -> None:
    three = [entry((0, 10), who="a"), entry((4, 10), who="b"), entry((14, 18), who="c")]
    assert gold_spans(three) == [{"start": 4, "end": 10, "type": "factual"}]
    assert gold_spans(three[:2]) == [{"start": 4, "end": 10, "type": "factual"}]  # both must; a tie is no fault
    assert gold_spans(three[2:]) == [{"start": 14, "end": 18, "type": "factual"}]
    assert gold_spans([entry(who="a")]) == []


def test_agreement_counts_characters_without_white_space() -> None:
    found = agreements([entry((0, 3), who="bert"), entry((0, 10), who="anna"), entry((0, 1), who="anna", row=9)])
    [(one, responses)] = found
    assert (one.who, responses) == (("anna", "bert"), 1)
    # "The answer is five. Or so." has 21 characters that are no white space: "The" by both, "answer" by anna alone
    assert (one.both, one.first, one.second, one.neither) == (3, 6, 0, 12)
    observed, chance = 15 / 21, (9 * 3 + 12 * 18) / 21**2
    assert one.kappa == pytest.approx((observed - chance) / (1 - chance))
