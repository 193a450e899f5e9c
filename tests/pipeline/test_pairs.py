"""Rows with several answers as several pairs: what is written, what is rejected, and what reads it afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asr_data
from asr_data.config import MaskConfig, OutputConfig, Part
from asr_data.errors import ConfigError, OutputExistsError
from asr_data.evaluation import evaluate
from asr_data.evaluation.labelled_rows import GoldOptions
from asr_data.export import export
from asr_data.export.examples import read_rows as read_responses
from asr_data.pairs import PairConfig
from asr_data.pipeline import Summary, mask, merge, run, score
from asr_data.scoring.config import DiffConfig
from asr_data.scoring.diff import DiffScorer
from asr_data.storage import load_manifest, open_output, validate
from asr_data.storage.commit import commit_parquet, observe
from asr_data.tables.filtering import filter_rows
from asr_data.types import RejectedRow
from asr_data.view.model import row_views
from asr_data.view.reading import rows_by_index
from tests.pipeline.conftest import rewards_of
from tests.pipeline.killing import Killed, killed_at

ALL = PairConfig(rule="all")
ADJACENT = PairConfig(rule="adjacent")
SIDES = ("chosen", "rejected")


def ultrafeedback(prompt: str, *answers: tuple[str, float]) -> dict[str, Any]:
    completions = [{"response": text, "overall_score": score, "model": "m"} for text, score in answers]
    return {"instruction": prompt, "completions": completions, "source": "x"}


UF = [
    ultrafeedback("Name a color.", ("Seven is no color.", 2.0), ("Blue, like the sky.", 9.5), ("Red it is.", 7.0)),
    ultrafeedback("Say hello.", ("Hello there!", 5.0), ("Hello there!", 4.0), ("Go away now.", 1.0), (" ", 0.5)),
    ultrafeedback(" ", ("An answer.", 2.0), ("Another one.", 1.0), ("A third one.", 0.0)),
    ultrafeedback("Count to two.", ("One, two.", 3.0), ("Two, one.", 3.0), ("One and two.", 8.0), ("Three.", 1.0)),
    ultrafeedback("Tie?", ("Yes it is.", 1.0), ("No it is not.", 1.0)),
    ultrafeedback("Add one and one.", ("Two of them.", 6.0), ("Eleven of them.", 2.0)),
]
NECTAR = [
    {
        "prompt": "\n\nHuman: Name an animal.\n\nAssistant: ",
        "answers": [
            {"answer": "A cat, a big one.", "model": "m1", "rank": 2.0},
            {"answer": "A stone, a big one.", "model": "m2", "rank": 3.0},
            {"answer": "A dog. A loud one.", "model": "m3", "rank": 1.0},
        ],
    },
    {
        "prompt": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Name a fruit.\n\nAssistant: ",
        "answers": [
            {"answer": "An apple, red and round.", "model": "m1", "rank": 1.0},
            {"answer": "A fruit.", "model": "m2", "rank": 2.0},
        ],
    },
]


@pytest.fixture
def go(bench: Any) -> Any:
    """Runs with pairs; ``scored``: stops before the masks."""

    def annotate(rows: Any, name: str = "out", pairs: PairConfig = ALL, scored: bool = False, **more: Any) -> Summary:
        source, layout = bench.open(rows)
        writing = OutputConfig(shard_rows=more.pop("shard_rows", 1_000), prefix=more.pop("prefix", ""))
        scorer, layout = more.pop("scorer", bench.scorer), layout.with_pairs(pairs)
        if scored:
            return score(source, layout, bench.folder / name, scorer, writing=writing, **more)
        more.setdefault("mask", MaskConfig())
        return run(source, layout, bench.folder / name, scorer, bench.tokenizer, writing=writing, **more)

    return annotate


def plain(bench: Any, ids: Any) -> str:
    """The text of a response's tokens, without what closes its turn."""
    return str(bench.tokenizer.hf.decode(ids, skip_special_tokens=True)).rstrip("\n")


def numbers(table: pa.Table) -> list[tuple[int, int | None]]:
    return list(zip(table["asr_row"].to_pylist(), table["asr_pair"].to_pylist(), strict=True))


# Best first: row 0 is Blue, Red, Seven; row 1 Hello, Hello, Go away, " "; row 3 One and two, One two, Two one, Three.
ANNOTATED = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (3, 0), (3, 1), (3, 3), (3, 4), (3, 5), (5, 0)]
REJECTED = [
    (1, 0, "identical_sides"),
    (1, 3, "empty_response"),
    (1, 4, "empty_response"),
    (1, 5, "empty_response"),
    (2, None, "empty_prompt"),
    (3, 2, "no_preference"),
    (4, None, "no_preference"),
]


def test_each_pair_once_in_order(bench: Any, go: Any) -> None:
    summary = go(UF, shard_rows=2)
    assert (summary.rows, summary.pairs, summary.annotated, summary.rejected) == (6, 18, 11, 7)
    data, scores, rejects = (bench.table("out", config) for config in ("data", "scores", "rejects"))
    assert numbers(data) == numbers(scores) == ANNOTATED
    assert [tuple(row.values())[:3] for row in rejects.to_pylist()] == REJECTED
    assert data["completions"][1].as_py() == UF[0]["completions"]
    assert data.schema.field("asr_pair").type == scores.schema.field("asr_pair").type == pa.int32()
    assert validate(bench.folder / "out") == []


def test_rewards_are_those_of_the_pair_s_own_answers(bench: Any, go: Any) -> None:
    go(UF)
    rows = bench.table("out", "scores").to_pylist()
    texts = {0: ("Blue, like the sky.", "Red it is."), 1: ("Blue, like the sky.", "Seven is no color.")}
    texts[2] = ("Red it is.", "Seven is no color.")
    for row, (chosen, rejected) in zip(rows, texts.values(), strict=False):
        assert row["chosen_span_reward"] == rewards_of(chosen).span_reward.tolist()
        assert row["rejected_span_reward"] == rewards_of(rejected).span_reward.tolist()
    data = bench.table("out").to_pylist()
    assert [(plain(bench, row["chosen_ids"]), plain(bench, row["rejected_ids"])) for row in data[:3]] == [
        *texts.values()
    ]


def test_the_same_as_the_pairs_written_out_by_hand(bench: Any, go: Any) -> None:
    """The baseline is the midpoint of the pair: it would be another if two pairs of a row were taken for one."""
    config = MaskConfig.model_validate({"segmenter": "token", "noise": "response"})
    go(UF, "several", mask=config)
    pairs = [
        {"instruction": "Name a color.", "chosen": "Blue, like the sky.", "rejected": "Red it is."},
        {"instruction": "Name a color.", "chosen": "Blue, like the sky.", "rejected": "Seven is no color."},
        {"instruction": "Name a color.", "chosen": "Red it is.", "rejected": "Seven is no color."},
        {"instruction": "Say hello.", "chosen": "Hello there!", "rejected": "Go away now."},
    ]
    bench.run(pairs, "by_hand", mask=config)
    names = [f"{side}_{part}" for side in SIDES for part in ("ids", "mask", "seg_keep", "reward")]
    found, expected = (bench.table(name).select(names).to_pylist() for name in ("several", "by_hand"))
    assert found[:4] == expected


def test_ranks_and_transcripts(bench: Any, go: Any) -> None:
    summary = go(NECTAR, pairs=ADJACENT)
    assert (summary.annotated, summary.rejected) == (3, 0)
    views = row_views(open_output(bench.folder / "out"), rows_by_index(open_output(bench.folder / "out"), [1, 0]))
    said = [tuple("".join(one.text for one in response.segments) for response in view.responses) for view in views]
    assert said == [
        ("An apple, red and round.", "A fruit."),
        ("A dog. A loud one.", "A cat, a big one."),
        ("A cat, a big one.", "A stone, a big one."),
    ]
    assert [(view.index, view.pair) for view in views] == [(1, 0), (0, 0), (0, 2)]


def test_best_worst_is_what_it_was(bench: Any, go: Any) -> None:
    go(UF, pairs=PairConfig())
    bench.run(UF, "plain")
    assert bench.files("out") == bench.files("plain")
    assert "asr_pair" not in bench.table("plain").schema.names
    go(UF, "wide", pairs=PairConfig(min_gap=5.0))
    assert bench.rejects("wide")[5] == "small_gap"  # 6 and 2
    assert "asr_pair" not in bench.table("wide").schema.names


def test_a_gap_is_asked_for(bench: Any, go: Any) -> None:
    go(UF, pairs=PairConfig(rule="best-rest", min_gap=2.5))
    assert numbers(bench.table("out")) == [(0, 0), (0, 1), (1, 1), (3, 0), (3, 1), (3, 3), (5, 0)]
    rejects = [row for row in bench.table("out", "rejects").to_pylist() if row["asr_row"] in (0, 1)]
    assert [(row["asr_pair"], row["code"]) for row in rejects] == [(0, "small_gap"), (3, "empty_response")]
    assert validate(bench.folder / "out") == []


def test_what_the_scorer_refuses_is_refused_pair_by_pair(bench: Any, go: Any) -> None:
    def answer(row: Any) -> Any:
        if row.pair == 1:
            return RejectedRow(row.index, "scorer_error", "not this one")
        return bench.scorer._answer(row)

    bench.scorer.answers[0] = answer
    go(UF)
    assert numbers(bench.table("out"))[:2] == [(0, 0), (0, 2)]
    assert (0, 1, "scorer_error") in [tuple(row.values())[:3] for row in bench.table("out", "rejects").to_pylist()]
    assert validate(bench.folder / "out") == []


DROP = MaskConfig.model_validate(
    {"segmenter": "token", "baseline": {"kind": "running", "decay": 0.5}, "on_empty": "drop", "reward": "delta"}
)


def test_pairs_without_a_kept_segment_are_dropped_by_themselves(bench: Any, go: Any) -> None:
    config = MaskConfig.model_validate({"segmenter": "sequence", "on_empty": "drop"})
    go(UF, mask=config)
    data, scores, rejects = (bench.table("out", name) for name in ("data", "scores", "rejects"))
    dropped = {(row["asr_row"], row["asr_pair"]) for row in rejects.to_pylist() if row["code"] == "empty_mask"}
    assert 0 < len(dropped) < len(ANNOTATED)
    assert numbers(data) == numbers(scores) == [number for number in ANNOTATED if number not in dropped]
    # A whole response is one segment: it is kept where it is on its side of the midpoint of the two.
    for row, pair in ANNOTATED:
        ahead = {(0, 0): ("Blue, like the sky.", "Red it is."), (0, 2): ("Red it is.", "Seven is no color.")}.get(
            (row, pair)
        )
        if ahead is not None:
            means = [np.float64(rewards_of(text).reward or 0) for text in ahead]
            assert ((row, pair) in dropped) == (means[0] < means[1])
    assert validate(bench.folder / "out") == []


def test_killed_anywhere_and_resumed_gives_the_same_files(bench: Any, go: Any) -> None:
    path = bench.write(UF)
    points: list[str] = []
    with observe(lambda point, path: points.append(point)):
        go(path, "whole", shard_rows=2, mask=DROP)
    expected = bench.files("whole")
    for count in range(0, len(points), 7):
        name = f"killed{count}"
        with pytest.raises(Killed), observe(killed_at(count)):
            go(path, name, shard_rows=2, mask=DROP)
        go(path, name, shard_rows=2, mask=DROP, resume=True)
        assert bench.files(name) == expected, f"killed at commit point {count}"


def test_resuming_with_other_pairs_is_refused(bench: Any, go: Any) -> None:
    path = bench.write(UF)
    go(path)
    for pairs in (ADJACENT, PairConfig(rule="all", min_gap=1.0), PairConfig()):
        with pytest.raises((ConfigError, OutputExistsError), match=r"layout\.pairs"):
            go(path, pairs=pairs, resume=True)


def test_masks_anew_and_parts_joined_are_the_same_bytes(bench: Any, go: Any) -> None:
    path = bench.write(UF)
    go(path, "whole", shard_rows=2, mask=DROP)
    go(path, "scored", shard_rows=2, scored=True)
    mask(bench.folder / "scored", bench.folder / "anew", bench.tokenizer, mask=DROP)
    for name in ("data", "scores", "rejects"):
        assert bench.table("anew", name).equals(bench.table("whole", name)), name
    parts = []
    for index in range(2):
        summary = go(path, f"part{index}", shard_rows=2, mask=DROP, part=Part(num_shards=2, shard_index=index))
        parts.append(bench.folder / f"part{index}")
        assert summary.pairs == summary.annotated + summary.rejected
    merge(parts, bench.folder / "joined")
    assert bench.files("joined") == bench.files("whole")
    assert validate(bench.folder / "anew") == validate(bench.folder / "scored") == []


def test_a_prefix(bench: Any, go: Any) -> None:
    rows = [{**row, "asr_pair": at} for at, row in enumerate(UF)]
    with pytest.raises(ConfigError, match="already has column 'asr_pair'"):
        go(rows)
    go(rows, prefix="x_", mask=DROP)
    table = bench.table("out")
    assert table["asr_pair"].to_pylist() == table["x_asr_row"].to_pylist()
    assert set(zip(table["x_asr_row"].to_pylist(), table["x_asr_pair"].to_pylist(), strict=True)) <= set(ANNOTATED)
    assert validate(bench.folder / "out") == []
    with pytest.raises(ConfigError, match="already has column 'asr_pair'"):  # else it would be taken for ours
        bench.run(rows, "plain")


def test_filter_keeps_and_leaves_out_single_pairs(bench: Any, go: Any) -> None:
    go(UF, shard_rows=2)
    summary = filter_rows(bench.folder / "out", bench.folder / "some", where="asr_pair = 1 OR asr_row = 3")
    wanted = [number for number in ANNOTATED if number[1] == 1 or number[0] == 3]
    assert numbers(bench.table("some")) == numbers(bench.table("some", "scores")) == wanted
    assert (summary.pairs, summary.annotated, summary.rejected) == (18, len(wanted), 18 - len(wanted))
    left = [(row["asr_row"], row["asr_pair"]) for row in bench.table("some", "rejects").to_pylist()]
    whole = [(2, None), (4, None)]
    every = {*ANNOTATED, *((row, pair) for row, pair, _ in REJECTED)}
    assert sorted(set(left) - set(whole)) == sorted(every - set(wanted) - set(whole))
    assert [row for row, _ in left] == sorted(row for row, _ in left)
    assert validate(bench.folder / "some") == []
    filter_rows(bench.folder / "some", bench.folder / "few", sample=2, seed=1)
    assert validate(bench.folder / "few") == []


def test_frames_read_the_texts_of_each_pair(bench: Any, go: Any) -> None:
    go(UF)
    rows = asr_data.frame(bench.folder / "out").select("asr_row", "asr_pair", "chosen_text", "rejected_text").collect()
    assert rows.rows()[:3] == [
        (0, 0, "Blue, like the sky.", "Red it is."),
        (0, 1, "Blue, like the sky.", "Seven is no color."),
        (0, 2, "Red it is.", "Seven is no color."),
    ]
    segments = asr_data.frame(bench.folder / "out").asr.segments("rejected").collect()  # type: ignore[attr-defined]
    texts = {(0, 0): "Red it is.", (0, 1): "Seven is no color.", (0, 2): "Seven is no color."}
    for (row, pair), text in texts.items():
        mine = segments.filter(asr_row=row, asr_pair=pair)["text"]
        assert "".join(mine) == text


def test_in_memory(bench: Any) -> None:
    found = asr_data.annotate(UF, bench.scorer, bench.tokenizer, pairs=ALL)
    assert [(row["asr_row"], row["asr_pair"]) for row in found] == ANNOTATED
    import datasets

    given = datasets.Dataset.from_list(UF)
    table = asr_data.annotate(given, bench.scorer, bench.tokenizer, pairs=ALL)
    texts = asr_data.frame(table).select("asr_pair", "chosen_text", "rejected_text").collect().rows()
    assert texts[1] == (1, "Blue, like the sky.", "Seven is no color.")
    with pytest.raises(ConfigError, match="--pairs all is for rows with several answers"):
        asr_data.annotate([{"prompt": "p", "chosen": "a", "rejected": "b"}], bench.scorer, bench.tokenizer, pairs=ALL)


def test_pandas_rows_share_their_index(bench: Any) -> None:
    import pandas as pd

    given = pd.DataFrame(UF, index=list("abcdef"))
    found = asr_data.annotate(given, bench.scorer, bench.tokenizer, pairs=ALL)
    assert list(found.index) == ["abcdef"[row] for row, _ in ANNOTATED]


def test_a_scorer_that_compares_sees_the_other_answer_of_each_pair(bench: Any, go: Any) -> None:
    rows = [ultrafeedback("p", ("red blue", 3.0), ("blue green", 2.0), ("red green", 1.0))]
    go(rows, scorer=DiffScorer(DiffConfig()))
    shared = [
        (row["chosen_span_reward"], row["rejected_span_reward"]) for row in bench.table("out", "scores").to_pylist()
    ]
    # red blue | blue green; red blue | red green; blue green | red green
    assert shared == [([0.0, 1.0], [1.0, 0.0]), ([1.0, 0.0], [1.0, 0.0]), ([0.0, 1.0], [0.0, 1.0])]


def test_gold_of_another_directory_is_found_pair_by_pair(bench: Any, go: Any) -> None:
    go(UF, "one")
    go(UF, "other", mask=MaskConfig.model_validate({"segmenter": "step"}))
    report = evaluate(bench.folder / "one", bench.tokenizer, options=GoldOptions(gold=str(bench.folder / "other")))
    assert report.evaluated.rows == len(ANNOTATED)
    assert report.evaluated.unreadable == {}


def test_exported_responses_are_those_of_each_pair(bench: Any, go: Any) -> None:
    go(UF)
    found = [tuple(plain(bench, one.ids) for one in row) for row in read_responses(open_output(bench.folder / "out"))]
    assert found[1:3] == [("Blue, like the sky.", "Seven is no color."), ("Red it is.", "Seven is no color.")]


def test_json_lines_and_notes_say_which_pair(bench: Any, go: Any) -> None:
    go(UF)
    annotated = open_output(bench.folder / "out")
    [file] = export(annotated, "jsonl", bench.folder / "lines").path.glob("train*.jsonl")
    lines = lines_of(file)
    assert [(line["asr_row"], line["asr_pair"]) for line in lines] == ANNOTATED
    cut = export(annotated, "llamafactory-sft", bench.folder / "cut", max_length=30).path
    notes = lines_of(cut / "notes.jsonl")
    assert notes
    assert {(note["asr_row"], note["asr_pair"]) for note in notes} <= set(ANNOTATED)


def test_the_kl_of_kto_is_over_another_row_s_response(bench: Any, go: Any) -> None:
    go(UF)
    folder = export(open_output(bench.folder / "out"), "llamafactory-kto", bench.folder / "kto").path
    rows = datasets.load_from_disk(str(folder / "train"))
    assert len(rows) == 2 * len(ANNOTATED)
    decode = bench.tokenizer.hf.decode
    questions = {row["instruction"]: {one["response"] for one in row["completions"]} for row in UF}
    for row in rows:
        own, shown = decode(row["input_ids"]), decode(row["kl_input_ids"])
        question, answers = next((asked, said) for asked, said in questions.items() if asked != " " and asked in own)
        assert question in shown
        assert not any(answer in shown for answer in answers if answer.strip())


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_pair_that_is_missing_is_noticed(bench: Any, go: Any) -> None:
    go(UF)
    out = bench.folder / "out"
    lost = numbers(bench.table("out")).index((0, 1))
    manifest = load_manifest(out)
    files = {file.path: file for file in manifest.files}
    for path in ("data/train-00000.parquet", "scores/train-00000.parquet"):
        table = pq.read_table(out / path)
        keep = pa.array([at != lost for at in range(table.num_rows)])
        files[path] = commit_parquet(out / path, [table.filter(keep)], table.schema, root=out)
    counts = manifest.counts.model_copy(update={"annotated": 10, "pairs": 17})
    forged = manifest.model_copy(update={"files": tuple(files.values()), "counts": counts})
    (out / "asr.json").write_bytes(forged.to_bytes())
    assert [(one.row, one.message) for one in validate(out)] == [(0, "row lacks a pair that all makes (so in 1 rows)")]
