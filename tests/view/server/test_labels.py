from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asr_data.config import MaskConfig, Token
from asr_data.errors import ConfigError, CorruptFileError, OutputExistsError, StorageError
from asr_data.labelling import Entry, LabelJournal, last_done, read_entries
from asr_data.view.server.directories import Viewed
from asr_data.view.server.labels import Labels, LabelSettings
from asr_data.view.server.queue import Place, by_chance, by_disagreement

TAB, OTHER = "tab-number-1", "tab-number-2"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def viewed(annotate: Any) -> Viewed:
    return Viewed(annotate(mask=MaskConfig(segmenter=Token(), baseline=0.0)), "x", "none", None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def labels(viewed: Viewed, tmp_path: Path, clock: Clock) -> Iterator[Labels]:
    made = Labels([viewed], LabelSettings(tmp_path / "labels.jsonl", "anna"), clock)
    yield made
    made.close()


def judge(labels: Labels, place: Place, *marks: tuple[int, int], status: Any = "done", tab: str = TAB) -> Any:
    given = [(first, last, "factual", "major") for first, last in marks]
    return labels.save(tab, place, given, status, order="chance", blind=True, seconds=2.0)


def test_two_tabs(labels: Labels, clock: Clock) -> None:
    labels.claim(TAB)
    with pytest.raises(ConfigError, match="another tab of this page is labelling: close it"):
        labels.claim(OTHER)
    clock.now = 19
    labels.claim(TAB)  # it is still there
    clock.now = 38
    with pytest.raises(ConfigError, match="another tab"):
        labels.claim(OTHER)
    clock.now = 40
    labels.claim(OTHER)  # silent for 21 seconds
    with pytest.raises(ConfigError, match="another tab of this page is labelling by now"):
        judge(labels, Place(0, 0))
    labels.release(TAB)  # of one that has it no more
    with pytest.raises(ConfigError):
        labels.claim(TAB)
    labels.release(OTHER)
    labels.claim(TAB)


def test_two_servers(labels: Labels, viewed: Viewed) -> None:
    labels.claim(TAB)
    with pytest.raises(OutputExistsError, match="another asr-annotate view is labelling into it now"):
        Labels([viewed], labels.settings).claim(TAB)


def test_each_response_comes_once_and_an_open_one_comes_back(labels: Labels, viewed: Viewed) -> None:
    labels.claim(TAB)
    seen = []
    for number in range(2 * viewed.rows):
        response = labels.next(TAB, "chance")["response"]
        place = Place(response["position"], response["side"])
        if number == 0:
            judge(labels, place, (0, 0), status="open")
            again = labels.next(TAB, "chance")["response"]
            assert (again["position"], again["side"], again["status"]) == (*place, "open")
            assert again["marks"] == [{"first": 0, "last": 0, "type": "factual", "severity": "major"}]
        judge(labels, place, status="skipped" if number == 1 else "done")
        seen.append(place)
    assert sorted(seen) == [Place(position, side) for position in range(viewed.rows) for side in (0, 1)]
    assert len({place.position for place in seen[: viewed.rows]}) == viewed.rows  # every row before any row's second
    assert labels.next(TAB, "chance")["response"] is None
    assert labels.next(TAB, "chance")["progress"]["done"] == 2 * viewed.rows - 1
    before = labels.back(TAB, None)["response"]
    assert (before["position"], before["side"], before["status"]) == (*seen[-1], "done")
    assert before["order"] == "chance"  # however it is judged again, chance chose it
    before = labels.back(TAB, seen[-1])["response"]
    assert (before["position"], before["side"]) == seen[-2]


def test_what_is_written_is_the_response_with_its_spans(labels: Labels, viewed: Viewed) -> None:
    labels.claim(TAB)
    [row] = [row for batch in viewed.annotated.rows_at([0]) for row in batch.to_pylist()]
    judge(labels, Place(0, 1), (2, 4))
    [entry] = read_entries(labels.settings.path)
    assert (entry.asr_row, entry.side, entry.annotator, entry.blind, entry.seconds) == (
        0,
        "rejected",
        "anna",
        True,
        2.0,
    )
    assert (entry.prompt, entry.completion) == (row["prompt"], row["rejected"])
    [mark] = entry.completion_spans or ()
    assert row["rejected"][0]["content"][mark.start : mark.end] == "is five"


@pytest.mark.parametrize("marks", [(1, 1), (0, 9_999), (3, 2)])
def test_a_mark_on_nothing(labels: Labels, marks: tuple[int, int]) -> None:
    labels.claim(TAB)
    with pytest.raises(ConfigError, match="a mark must be on text that the assistant wrote"):
        judge(labels, Place(0, 0), marks)
    with pytest.raises(ConfigError, match="there is no such response"):
        judge(labels, Place(99, 0))
    assert read_entries(labels.settings.path) == []


def test_another_server_goes_on_where_one_ended(labels: Labels, viewed: Viewed) -> None:
    labels.claim(TAB)
    first = labels.next(TAB, "chance")["response"]
    judge(labels, Place(first["position"], first["side"]), (0, 0))
    labels.close()
    again = Labels([viewed], labels.settings)
    again.claim(OTHER)
    found = again.next(OTHER, "chance")
    assert found["progress"]["done"] == 1
    assert (found["response"]["position"], found["response"]["side"]) != (first["position"], first["side"])
    again.close()


def test_agreement_of_two_people(labels: Labels, viewed: Viewed) -> None:
    labels.claim(TAB)
    judge(labels, Place(0, 1), (2, 2))
    judge(labels, Place(1, 1))
    labels.close()
    other = Labels([viewed], LabelSettings(labels.settings.path, "bert"))
    other.claim(TAB)
    first = other.next(TAB, "chance")["response"]
    again = Labels([viewed], labels.settings)._places("chance")[0]
    assert (first["position"], first["side"]) == again  # both are asked about the same responses
    found = judge(other, Place(0, 1), (2, 2))
    [agreement] = found["progress"]["agreement"]
    assert agreement == {"who": ["anna", "bert"], "responses": 1, "kappa": 1.0, "f1": 1.0}
    assert len(last_done(read_entries(labels.settings.path))) == 3
    other.close()


def test_labels_are_gold_on_the_page(labels: Labels, viewed: Viewed) -> None:
    assert labels.gold() is None
    labels.claim(TAB)
    judge(labels, Place(2, 0), (0, 0))
    judge(labels, Place(0, 1))
    gold = labels.gold()
    assert gold is not None
    assert gold[1] == [0, 2]


# --- which come first ------------------------------------------------------------------------------------


def test_with_one_directory_those_come_first_of_which_it_drops_most(viewed: Viewed) -> None:
    order = by_disagreement([viewed])
    assert sorted(order) == sorted(by_chance([viewed]))
    rows = [row for batch in viewed.annotated.data_batches() for row in batch.to_pylist()]

    def dropped(place: Place) -> float:
        side = ("chosen", "rejected")[place.side]
        row = rows[place.position]
        text = row[side][0]["content"]
        ends = [*row[f"{side}_seg_text_start"][1:], len(text)]
        pairs = zip(row[f"{side}_seg_text_start"], ends, row[f"{side}_seg_keep"], strict=True)
        return sum(end - start for start, end, keep in pairs if not keep) / len(text)

    shares = [dropped(place) for place in order]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) > 2


def test_with_two_directories_those_come_first_whose_masks_differ(annotate: Any) -> None:
    one, other = (
        Viewed(annotate(mask=MaskConfig(segmenter=Token(), baseline=b)), str(b), "none", None) for b in (0.0, 0.3)
    )
    alike = Viewed(annotate(mask=MaskConfig(segmenter=Token(), baseline=0.0)), "same", "none", None)
    assert by_disagreement([one, alike]) == by_chance([one])
    assert by_disagreement([one, other]) != by_chance([one])


@pytest.mark.parametrize(
    "wrong", [{"annotator": " "}, {"annotator": "x" * 101}, {"kinds": ()}, {"kinds": ("a", "a")}, {"kinds": ("",)}]
)
def test_settings_that_do_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"--annotator must be|--kinds must be"):
        LabelSettings(**{"path": Path("x"), "annotator": "anna", **wrong})


@pytest.mark.parametrize("changed", ["prompt", "completion"])
def test_a_journal_of_another_data_set(labels: Labels, viewed: Viewed, changed: str) -> None:
    journal = LabelJournal(labels.settings.path)
    [row] = [row for batch in viewed.annotated.rows_at([1]) for row in batch.to_pylist()]
    own = {"asr_row": 1, "side": "rejected", "annotator": "bert", "status": "skipped"}
    line = {**own, "prompt": row["prompt"], "completion": row["rejected"]}
    journal.add(Entry.model_validate({**line, "asr_row": 99}))  # a row that is not here does no harm
    journal.add(Entry.model_validate(line))
    journal.close()
    labels.claim(TAB)
    labels.close()
    journal = LabelJournal(labels.settings.path)
    journal.add(Entry.model_validate({**line, changed: "of other data"}))
    journal.close()
    again = Labels([viewed], labels.settings)
    for _ in range(2):  # nor is it kept from others
        with pytest.raises(ConfigError, match=r"labels another data set: row 1, rejected, has another text there"):
            again.claim(TAB)
    LabelJournal(labels.settings.path).close()


def test_what_is_no_journal_is_named(labels: Labels, tmp_path: Path) -> None:
    labels.settings.path.write_text('{"prompt": "q"}\n', encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"labels\.jsonl, line 1: not a line of a journal of labels: asr_row"):
        labels.claim(TAB)
    labels.settings.path.unlink()
    labels.settings.path.mkdir()
    with pytest.raises(StorageError, match=r"labels\.jsonl: cannot be written: Is a directory"):
        labels.claim(TAB)
    elsewhere = Labels(labels._viewed, LabelSettings(tmp_path / "no" / "labels.jsonl", "anna"))
    with pytest.raises(StorageError, match="cannot be written: No such file or directory"):
        elsewhere.claim(TAB)


def test_a_journal_of_another_hand_stays_as_it_is(labels: Labels, viewed: Viewed) -> None:
    journal = LabelJournal(labels.settings.path)
    [row] = [row for batch in viewed.annotated.rows_at([0]) for row in batch.to_pylist()]
    line = {"asr_row": 0, "side": "chosen", "annotator": "bert", "status": "skipped"}
    journal.add(Entry.model_validate({**line, "prompt": row["prompt"], "completion": row["chosen"]}))
    journal.close()
    labels.claim(TAB)
    judge(labels, Place(0, 0), (0, 0))
    assert [entry.annotator for entry in read_entries(labels.settings.path)] == ["bert", "anna"]
