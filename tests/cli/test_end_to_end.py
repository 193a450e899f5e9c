"""The real program on small files with a tiny checkpoint: every command, and everything that can be wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from asr_data_cli.app import build_app

TEXTS = [
    ("What is two and two?", "The answer is four. That is all.", "The answer is five, I say."),
    ("Wie spät ist es?", "Es ist zwölf Uhr 🙂.", "日本語"),
    ("Add the numbers.", "Step 1: add.\n\nStep 2: done.", "There is no answer."),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_checkpoint: Callable[..., Path]) -> Path:
    import torch

    generator = torch.Generator().manual_seed(5)
    head = {"score.weight": torch.randn(1, 32, generator=generator), "score.bias": torch.zeros(1)}
    settings = {"kind": "token_head", "head": {"kind": "linear", "prefix": "score."}, "transform": "sigmoid"}
    return make_checkpoint(tmp_path_factory.mktemp("model"), head, settings)


@pytest.fixture
def command(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: Any, own_model: bool = True) -> Result:
        words = [str(argument) for argument in arguments]
        if own_model and words[0] in ("run", "score"):
            words[1:1] = ["--model", str(model), "--dtype", "float32", "--device", "cpu"]
        return CliRunner().invoke(build_app(), words)

    return call


def rows(extra: Sequence[Any] = ()) -> list[Any]:
    return [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in TEXTS] + list(extra)


def write(content: Sequence[Any], name: str = "pairs.jsonl") -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return name


def rejected(directory: str = "out") -> dict[int, str]:
    return {row["asr_row"]: row["code"] for row in pq.read_table(f"{directory}/rejects/train.parquet").to_pylist()}


def assert_clear_error(result: Result, code: int, pattern: str) -> None:
    """One error, no traceback, nothing that was not foreseen."""
    text = " ".join(result.output.split())
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "not foreseen" not in result.output
    assert re.search(pattern, text), text


def test_run_score_mask_validate_and_inspect(command: Callable[..., Result]) -> None:
    pairs = write(rows())
    done = command("run", pairs, "-o", "out", "--segmenter", "optimal", "--shard-rows", 2)
    assert done.exit_code == 0, done.output
    assert "asr-annotate inspect out" in done.output
    assert command("score", pairs, "-o", "scored", "--shard-rows", 2).exit_code == 0
    assert command("mask", "scored", "-o", "masked", "--segmenter", "optimal").exit_code == 0
    for name in ("data/train-00000", "data/train-00001", "scores/train-00001", "rejects/train"):
        assert Path(f"out/{name}.parquet").read_bytes() == Path(f"masked/{name}.parquet").read_bytes()
    assert Path("out/asr.json").read_bytes() == Path("masked/asr.json").read_bytes()
    for name in ("out", "scored", "masked"):
        valid = command("validate", name)
        assert (valid.exit_code, valid.output.strip()) == (0, f"valid: {name}")
    shown = command("inspect", "out", "--row", 2, "--values")
    assert shown.exit_code == 0
    assert "There is no answer." in re.sub(r"\{[^}]*\}|\[-|-\]|│", "", shown.output)
    assert command("run", pairs, "-o", "out", "--segmenter", "optimal", "--shard-rows", 2, "--resume").exit_code == 0
    written = command("report", "out", "-o", "report.html")
    assert written.exit_code == 0, written.output
    assert written.output.split() == [
        "rows",
        "3",
        "of",
        "3",
        "are",
        "shown",
        "size",
        "1.0",
        "MB",
        "output",
        "report.html",
    ]


def test_a_changed_file_is_found(command: Callable[..., Result]) -> None:
    command("run", write(rows()), "-o", "out")
    path = Path("out/data/train-00000.parquet")
    path.write_bytes(path.read_bytes()[:-1] + b"2")
    assert_clear_error(command("validate", "out"), 1, r"data/train-00000.parquet.*SHA-256")
    assert_clear_error(command("inspect", "out"), 1, r"train-00000.parquet.*SHA-256")
    assert_clear_error(command("mask", "out", "-o", "again"), 1, r"train-00000.parquet.*SHA-256")


# --- input that cannot be read ---------------------------------------------------------------------------


def test_files_that_cannot_be_read(command: Callable[..., Result]) -> None:
    Path("empty.jsonl").touch()
    Path("blank.jsonl").write_text("\n\n")
    Path("pairs.txt").write_text("a")
    Path("corrupt.parquet").write_bytes(b"PAR1 and then nothing of the kind PAR1")
    Path("short.parquet").write_bytes(b"PA")
    Path("empty.json").write_text("[]")
    Path("folder").mkdir()
    for name, pattern in {
        "missing.jsonl": "no such file",
        "empty.jsonl": "empty.jsonl.*no rows",
        "blank.jsonl": "blank.jsonl.*no rows",
        "empty.json": "empty.json.*no rows",
        "pairs.txt": "unknown suffix.*parquet",
        "corrupt.parquet": "corrupt.parquet",
        "short.parquet": "short.parquet",
        "folder": "folder: not a directory with a dataset",
    }.items():
        assert_clear_error(command("run", name, "-o", "out"), 1, pattern)
        assert not Path("out").exists()


def test_a_parquet_file_with_a_flipped_bit(command: Callable[..., Result]) -> None:
    table = pa.Table.from_pylist(rows())
    pq.write_table(table, "pairs.parquet", write_page_checksum=True, compression="none", write_statistics=False)
    data = bytearray(Path("pairs.parquet").read_bytes())
    data[data.index(b"answer is four")] ^= 1
    Path("pairs.parquet").write_bytes(data)
    assert_clear_error(command("run", "pairs.parquet", "-o", "out"), 1, "pairs.parquet")


def test_columns_that_fit_no_layout(command: Callable[..., Result]) -> None:
    for content, pattern in (
        ([{"question": "a", "good": "b"}], r"question.*--columns"),
        ([{"prompt": "a", "chosen": 1, "rejected": 2}], "chosen.*int64"),
        ([{"chosen": "a", "rejected": "b"}], "--columns"),
    ):
        assert_clear_error(command("run", write(content), "-o", "out"), 1, pattern)
    wrong = command("run", write(rows()), "-o", "out", "--columns", "prompt=question")
    assert_clear_error(wrong, 1, "question.*no such column")


# --- rows that cannot be annotated -----------------------------------------------------------------------

BAD_ROWS: dict[str, tuple[Any, str]] = {
    "no prompt": ({"prompt": None, "chosen": "a", "rejected": "b"}, "missing_column"),
    "no response": ({"prompt": "a", "chosen": None, "rejected": "b"}, "missing_column"),
    "absent": ({"prompt": "a", "chosen": "b"}, "missing_column"),
    "empty prompt": ({"prompt": " ", "chosen": "a", "rejected": "b"}, "empty_prompt"),
    "empty response": ({"prompt": "a", "chosen": "b", "rejected": "\n"}, "empty_response"),
    "identical": ({"prompt": "a", "chosen": "b", "rejected": "b"}, "identical_sides"),
    "too long": ({"prompt": "a", "chosen": "long " * 300, "rejected": "b"}, "too_long"),
    "surrogate": ({"prompt": "a", "chosen": "x\ud83d", "rejected": "b"}, "invalid_unicode"),
    "surrogate elsewhere": ({"prompt": "a", "chosen": "b", "rejected": "c", "note": "\udc00"}, "invalid_unicode"),
    "nul": ({"prompt": "a\0", "chosen": "b", "rejected": "c"}, "nul_byte"),
    "a list": ([1, 2], "not_an_object"),
    "a number": (7, "not_an_object"),
    "null": (None, "not_an_object"),
}


def test_bad_rows_are_rejected_with_their_code_and_the_others_annotated(command: Callable[..., Result]) -> None:
    content = [*(bad for bad, _ in BAD_ROWS.values()), *rows()]
    done = command("run", write(content), "-o", "out", "--shard-rows", 4)
    assert done.exit_code == 0, done.output
    assert rejected() == dict(enumerate(code for _, code in BAD_ROWS.values()))
    tables = [pq.read_table(path) for path in sorted(Path("out/data").iterdir())]
    kept = pa.concat_tables(tables)["asr_row"].to_pylist()
    assert kept == [len(BAD_ROWS) + place for place in range(len(TEXTS))]
    assert command("validate", "out").exit_code == 0


def test_a_line_that_is_no_json_is_rejected(command: Callable[..., Result]) -> None:
    Path("pairs.jsonl").write_text(json.dumps(rows()[0]) + '\n{"prompt": "a", \n' + json.dumps(rows()[1]) + "\n")
    assert command("run", "pairs.jsonl", "-o", "out").exit_code == 0
    assert rejected() == {1: "invalid_json"}


def test_strict_makes_rejected_rows_exit_code_3(command: Callable[..., Result]) -> None:
    path = write(rows([{"prompt": "a", "chosen": "b", "rejected": "b"}]))
    assert command("run", path, "-o", "out", "--strict").exit_code == 3
    assert command("validate", "out").exit_code == 0
    assert command("score", path, "-o", "scored", "--strict").exit_code == 3
    assert command("mask", "scored", "-o", "masked", "--strict").exit_code == 3
    assert command("run", write(rows()), "-o", "clean", "--strict").exit_code == 0


def test_nothing_but_rejected_rows(command: Callable[..., Result]) -> None:
    done = command("run", write([{"prompt": "a", "chosen": "b", "rejected": "b"}] * 2), "-o", "out")
    assert_clear_error(done, 1, "none of the 2 rows could be annotated: identical_sides 2; see out/rejects")
    assert command("validate", "out").exit_code == 0
    shown = command("inspect", "out")
    assert (shown.exit_code, shown.output.strip()) == (0, "out has no annotated rows")


# --- outputs and models ----------------------------------------------------------------------------------


def test_output_directories_that_are_not_to_be_touched(command: Callable[..., Result]) -> None:
    path = write(rows())
    Path("photos").mkdir()
    Path("photos/cat.jpg").write_bytes(b"cat")
    Path("file").touch()
    for flags in ([], ["--overwrite"], ["--resume"]):
        assert_clear_error(command("run", path, "-o", "photos", *flags), 1, "photos: holds cat.jpg")
        assert_clear_error(command("run", path, "-o", "file", *flags), 1, "file: is a file")
    assert [entry.name for entry in Path("photos").iterdir()] == ["cat.jpg"]
    assert command("run", path, "-o", "out").exit_code == 0
    again = command("run", path, "-o", "out")
    assert (again.exit_code, "out is already complete" in again.output) == (0, True)
    assert_clear_error(command("run", path, "-o", "out", "--end-token", "mask"), 1, "mask.end_token.*mask")
    assert_clear_error(command("run", path, "-o", "out", "--resume", "--end-token", "mask"), 1, "mask.end_token")
    assert_clear_error(command("run", path, "-o", "out", "--resume", "--overwrite"), 2, "--resume.*--overwrite")
    assert command("run", path, "-o", "out", "--overwrite", "--end-token", "mask").exit_code == 0
    assert_clear_error(
        command("mask", "out", "-o", "out", "--overwrite"), 1, "out is the input; name another directory"
    )
    assert_clear_error(command("mask", "photos", "-o", "other"), 1, "photos")


def test_models_that_are_no_reward_models(command: Callable[..., Result], make_checkpoint: Any) -> None:
    path = write(rows())
    settings = {"kind": "token_head", "head": {"kind": "linear", "prefix": "score."}}
    make_checkpoint(Path("headless"), None, settings)
    make_checkpoint(Path("silent"), None, None)
    Path("nothing").mkdir()
    for name, pattern in {
        "headless": r"missing \['score",
        "silent": "no known family",
        "nothing": "nothing has no model",
        "./absent": "not a model directory",
        "owner/absent": "neither a directory nor a model",
    }.items():
        result = command("run", path, "-o", "out", "--model", name, own_model=False)
        assert_clear_error(result, 1, pattern)
        assert not Path("out").exists()


def test_settings_that_cannot_be_right(command: Callable[..., Result]) -> None:
    path = write(rows())
    for option, pattern in {
        ("--baseline", "dataset:2"): "dataset",
        ("--segmenter", "schmit"): "schmitt",
        ("--delta", "-1"): "delta",
        ("--shard-rows", "0"): "shard-rows",
        ("--tokenizer", "./absent"): "absent",
        ("--device", "abacus"): "abacus",
    }.items():
        assert_clear_error(command("run", path, "-o", "out", *option), 2, pattern)
