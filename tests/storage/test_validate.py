from __future__ import annotations

import json
import shutil
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.storage import Problem, validate
from asr_data.storage.commit import commit_parquet
from asr_data.storage.seal import sealed_json


def messages(path: Any) -> list[str]:
    return [problem.message for problem in validate(path)]


def test_a_good_output_has_no_problems(write: Any) -> None:
    assert validate(write()) == []


def test_a_scored_output_has_no_masks_to_check(write: Any, rows: Any, schemas: Any) -> None:
    added = ("asr_notes", "asr_row", "asr_run")
    kept = [field for field in schemas["data"] if field.name in ("prompt", "messages", *added)]
    schemas["data"] = pa.schema(kept)
    rows["data"] = [{name: row[name] for name in schemas["data"].names} for row in rows["data"]]
    assert validate(write(stage="scored", mask=None, tokenizer=None)) == []


PARTIAL = {"name": "labels", "kind": "labels", "form": "value", "fingerprint": "beef", "partial": True}
UNKNOWN = {
    "chosen_token_reward": [0.5, 0.5, None, None],
    "chosen_seg_reward": [0.5, None],
    "rejected_token_reward": [None] * 4,
    "rejected_seg_start": [0],
    "rejected_seg_text_start": [0],
    "rejected_seg_reward": [None],
    "rejected_seg_keep": [False],
    "rejected_mask": [False] * 4,
    "rejected_reward": None,
}


def test_a_partial_scorer_may_leave_rewards_unknown(write: Any, rows: Any) -> None:
    rows["data"][1] |= UNKNOWN
    rows["scores"][1]["chosen_span_reward"] = [0.25, 0.5, None]
    assert validate(write("partial", scorer=PARTIAL)) == []
    assert set(messages(write("whole"))) == {
        "chosen_token_reward is null or holds nulls",
        "chosen_seg_reward is null or holds nulls",
        "rejected_token_reward is null or holds nulls",
        "rejected_seg_reward is null or holds nulls",
        "rejected_reward is null or holds nulls",
        "chosen_span_reward is null or holds nulls",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rejected_token_reward": None}, "rejected_token_reward is null or holds nulls"),
        ({"chosen_seg_keep": [True, None]}, "chosen_seg_keep is null or holds nulls"),
        ({"chosen_token_reward": [0.5, 0.5, None, float("nan")]}, "chosen_token_reward is not finite"),
        (
            {"rejected_seg_keep": [True], "rejected_mask": [True] * 4},
            "rejected_seg_keep is true where rejected_seg_reward is null",
        ),
    ],
)
def test_what_a_partial_scorer_may_not(write: Any, rows: Any, change: dict[str, Any], message: str) -> None:
    rows["data"][1] |= UNKNOWN | change
    assert message in messages(write(scorer=PARTIAL))


def test_on_empty_may_keep_what_is_unknown(write: Any, rows: Any) -> None:
    rows["data"][1] |= UNKNOWN | {"rejected_seg_keep": [True], "rejected_mask": [True] * 4}
    rows["data"][1]["asr_notes"] = ["empty_mask_rejected"]
    counts = {"rows": 3, "annotated": 2, "rejected": 1, "notes": {"empty_mask_rejected": 1}}
    assert validate(write(scorer=PARTIAL, counts=counts | {"rejects": {"empty_prompt": 1}})) == []


def test_no_manifest(tmp_path: Any) -> None:
    (problem,) = validate(tmp_path)
    assert (problem.file, problem.row) == ("asr.json", None)
    assert "missing" in problem.message


@pytest.mark.parametrize("name", ["data/train-00000", "scores/train-00000", "rejects/train"])
def test_any_flipped_bit_a_cut_and_a_loss_are_noticed(write: Any, name: str) -> None:
    file = write() / f"{name}.parquet"
    content = file.read_bytes()
    for position in range(0, len(content), max(1, len(content) // 40)):
        flipped = bytes([content[position] ^ (1 << position % 8)])
        file.write_bytes(content[:position] + flipped + content[position + 1 :])
        (problem,) = validate(file.parents[1])
        assert problem.file == f"{name}.parquet"
        assert "the file changed" in problem.message
    file.write_bytes(content[:-3])
    assert "bytes, but" in messages(file.parents[1])[0]
    file.unlink()
    assert "missing" in messages(file.parents[1])[0]


def test_files_that_are_extra_or_left_over(write: Any) -> None:
    path = write()
    shutil.copy(path / "data" / "train-00000.parquet", path / "data" / "train-00001.parquet")
    (path / "data" / ".train-00001.parquet.partial").write_bytes(b"half")
    (path / ".asr-work").mkdir()
    assert validate(path) == [
        Problem(".asr-work", None, "left by a run that did not finish; repeat the command to resume it"),
        Problem("data/train-00001.parquet", None, "is not in the manifest"),
    ]


def test_rows_that_are_lost_doubled_or_out_of_order(write: Any, rows: Any) -> None:
    rows["data"].reverse()
    assert messages(write("order")) == ["asr_row does not increase"]
    rows["data"].reverse()
    rows["rejects"][0]["asr_row"] = 2
    assert messages(write("doubled")) == [
        "row is neither annotated nor rejected (so in 1 rows)",
        "row is both annotated and rejected (so in 1 rows)",
    ]
    rows["rejects"][0]["asr_row"] = 3
    assert "asr_row is outside the input's 3 rows" in messages(write("outside"))
    rows["rejects"][0]["asr_row"] = 1
    rows["scores"].pop()
    assert messages(write("unscored")) == ["row is annotated, but has no scores (so in 1 rows)"]


def test_counts_that_do_not_add_up(write: Any) -> None:
    counts = {"rows": 3, "annotated": 1, "rejected": 1, "notes": {}, "rejects": {"empty_prompt": 1}}
    assert messages(write(counts=counts)) == [
        "1 annotated and 1 rejected rows do not make 3",
        "counts.annotated is 1, but the files have 2",
        "counts.notes is {}, but the files have {'truncated': 1}",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen_mask": [True]}, "chosen_mask is not as long as chosen_ids"),
        ({"chosen_mask": [True, True, True, False]}, "chosen_mask is true in a dropped segment"),
        ({"chosen_mask": None}, "chosen_mask is null or holds nulls"),
        ({"chosen_mask": [True, None, False, False]}, "chosen_mask is null or holds nulls"),
        ({"chosen_token_reward": [0.5, 0.5, 0.5]}, "chosen_token_reward is not as long as chosen_ids"),
        ({"chosen_token_reward": [float("nan")] * 4}, "chosen_token_reward is not finite"),
        ({"chosen_token_reward": [0.1] * 4}, "chosen_token_reward is not rounded to bfloat16"),
        ({"rejected_seg_start": [1, 2]}, "rejected_seg_start does not begin with 0"),
        ({"rejected_seg_start": [0, 0]}, "rejected_seg_start does not increase"),
        ({"rejected_seg_start": [0, 4]}, "rejected_seg_start goes past the last token"),
        ({"rejected_seg_start": [0]}, "rejected_seg_keep is not as long as rejected_seg_start"),
        ({"rejected_seg_text_start": [3, 0]}, "rejected_seg_text_start decreases"),
        ({"rejected_seg_reward": [0.5, float("inf")]}, "rejected_seg_reward is not finite"),
        ({"rejected_reward": float("nan")}, "rejected_reward is not finite"),
        ({"rejected_reward": None}, "rejected_reward is null or holds nulls"),
        ({"chosen_ids": []}, "chosen_ids is empty"),
        ({"prompt_ids": [-1]}, "prompt_ids holds a negative token"),
        ({"asr_run": "other"}, "asr_run is not the manifest's run_id"),
        ({"asr_notes": ["whatever"]}, "asr_notes holds whatever, which the contract does not know"),
    ],
)
def test_wrong_data_rows(write: Any, rows: Any, change: dict[str, Any], message: str) -> None:
    rows["data"][1] |= change
    problems = validate(write())
    assert message in [problem.message for problem in problems]
    row = next(problem.row for problem in problems if problem.message == message)
    assert row == (None if "contract" in message else 2)


def test_an_empty_mask_that_was_noted_may_keep_all(write: Any, rows: Any) -> None:
    rows["data"][0] |= {
        "chosen_mask": [True] * 4,
        "chosen_seg_keep": [False, False],
        "asr_notes": ["empty_mask_chosen"],
    }
    counts = {"rows": 3, "annotated": 2, "rejected": 1, "rejects": {"empty_prompt": 1}}
    assert validate(write(counts=counts | {"notes": {"truncated": 1, "empty_mask_chosen": 1}})) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen_span_end": [0, 5, 3]}, "chosen_span_end decreases or is negative"),
        ({"chosen_span_end": [3, 9]}, "chosen_span_reward is not as long as chosen_span_end"),
        ({"chosen_span_reward": [0.5, float("nan"), 0.5]}, "chosen_span_reward is not finite"),
        ({"chosen_step_end": [4, 10]}, "chosen_step_end goes past the last span"),
        ({"rejected_reward": float("inf")}, "rejected_reward is not finite"),
        ({"rejected_span_end": [], "rejected_span_reward": []}, "rejected_span_end is empty"),
    ],
)
def test_wrong_score_rows(write: Any, rows: Any, change: dict[str, Any], message: str) -> None:
    rows["scores"][0] |= change
    assert Problem("scores/train-00000.parquet", 0, message) in validate(write())


def test_wrong_rejects(write: Any, rows: Any) -> None:
    rows["rejects"][0] |= {"code": "bad_luck", "message": None}
    assert messages(write())[:2] == ["code is not one of the contract's", "message is null"]


def test_a_column_of_another_type(write: Any, rows: Any, schemas: Any) -> None:
    position = schemas["data"].get_field_index("chosen_mask")
    schemas["data"] = schemas["data"].set(position, pa.field("chosen_mask", pa.list_(pa.int64())))
    for row in rows["data"]:
        row["chosen_mask"] = [-100, 1, 1, 1]
    (message,) = messages(write())
    assert "chosen_mask is list<item: int64>, must be list<item: bool>" in message


def test_a_file_whose_checksum_was_forged_along(write: Any, rows: Any, schemas: Any) -> None:
    path = write()
    table = pa.Table.from_pylist([*rows["data"], rows["data"][1]], schemas["data"])
    record = commit_parquet(path / "data" / "train-00000.parquet", [table], schemas["data"], root=path)
    content = json.loads((path / "asr.json").read_bytes())
    content["files"][0] = record.model_dump() | {"rows": 2}
    del content["sha256"]
    (path / "asr.json").write_bytes(sealed_json(content))
    assert pq.read_metadata(path / "data" / "train-00000.parquet").num_rows == 3
    assert "holds 3 rows, but the manifest says 2" in messages(path)


def test_the_card_is_checked(write: Any) -> None:
    path = write()
    card = path / "README.md"
    card.write_text(card.read_text() + "more")
    changed = Problem("README.md", None, "the file changed: it is not the card that was written")
    assert validate(path) == [changed]
    card.unlink()
    assert validate(path) == [Problem("README.md", None, "missing")]


def test_a_made_up_number_of_rows_takes_no_memory(write: Any) -> None:
    counts = {"rows": 10**15, "annotated": 2, "rejected": 10**15 - 2}
    source = {"description": "", "fingerprint": "", "rows": 10**15, "layout": "", "columns": {}, "column_types": {}}
    assert "input.rows is 1000000000000000, more than the files can hold" in messages(
        write(counts=counts, input=source)
    )
