from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from asr_data.storage import AnnotatedDirectory
from asr_data_cli.app import build_app
from tests.view.conftest import Annotate, annotate, annotate_into

__all__ = ["annotate", "annotate_into"]

ROWS = [
    {"prompt": "q", "chosen": f"Yes. It is {n}.", "rejected": "Never. [b]x[/b]", "topic": "ab"[n % 2]}
    for n in range(60)
]


@pytest.fixture
def pairs(annotate: Annotate) -> AnnotatedDirectory:
    return annotate(ROWS)


def ask(*words: Any) -> Any:
    return CliRunner().invoke(build_app(), list(map(str, words)))


def test_a_table_says_how_many_rows_it_leaves_out(pairs: AnnotatedDirectory) -> None:
    done = ask("query", pairs.path, "SELECT asr_row, topic FROM rows")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["asr_row", "topic"]
    assert lines[50].split() == ["49", "b"]
    assert len(lines) == 51
    assert "50 of 60 rows are shown" in done.stderr


def test_text_of_the_data_is_no_markup(pairs: AnnotatedDirectory) -> None:
    done = ask("query", pairs.path, "SELECT rejected FROM rows LIMIT 1")
    assert done.stdout.splitlines()[1].strip() == "Never. [b]x[/b]"


def test_csv_and_json_hold_all_rows(pairs: AnnotatedDirectory) -> None:
    sql = "SELECT asr_row, topic, chosen_ids FROM rows ORDER BY asr_row"
    expected = pl.read_parquet(pairs.path / "data" / "*.parquet").select("asr_row", "topic", "chosen_ids").to_dicts()
    done = ask("query", pairs.path, sql, "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected
    table = list(csv.DictReader(io.StringIO(ask("query", pairs.path, sql, "--csv").stdout)))
    assert [(int(row["asr_row"]), json.loads(row["chosen_ids"])) for row in table] == [
        (row["asr_row"], row["chosen_ids"]) for row in expected
    ]
    empty = ask("query", pairs.path, "SELECT asr_row, chosen_ids FROM rows WHERE asr_row < 0", "--csv")
    assert empty.stdout == "asr_row,chosen_ids\n"


def test_files_are_whole_and_not_replaced_unasked(pairs: AnnotatedDirectory, tmp_path: Path) -> None:
    sql = "SELECT topic, count(*) AS n FROM rows GROUP BY topic ORDER BY topic"
    expected = [{"topic": "a", "n": 30}, {"topic": "b", "n": 30}]
    assert ask("query", pairs.path, sql, "--parquet", tmp_path / "x.parquet").exit_code == 0
    assert pl.read_parquet(tmp_path / "x.parquet").to_dicts() == expected
    assert ask("query", pairs.path, sql, "--ipc", tmp_path / "x.arrow").exit_code == 0
    with pa.memory_map(str(tmp_path / "x.arrow")) as file:
        assert pa.ipc.open_file(file).read_all().to_pylist() == expected
    done = ask("query", pairs.path, sql, "--ipc", tmp_path / "x.arrow")
    assert (done.exit_code, "exists already; --overwrite replaces it" in done.stderr) == (1, True)
    assert ask("query", pairs.path, sql, "--ipc", tmp_path / "x.arrow", "--overwrite").exit_code == 0
    done = ask("query", pairs.path, sql, "--parquet", pairs.path / "data" / "x.parquet")
    assert (done.exit_code, "whose files are those of its manifest" in done.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.glob("*x.*")) == ["x.arrow", "x.parquet"]


@pytest.mark.parametrize(
    ("sql", "options", "message"),
    [
        ("SELEC", [], "must be one SELECT"),
        ("SELECT nope FROM rows", [], 'unable to find column "nope"'),
        ("SELECT * FROM nope", [], "there is no 'nope'; there are rows, "),
        ("SELECT * FROM read_csv('/etc/hostname')", [], "read_csv is not allowed"),
        ("SELECT CAST(topic AS int) FROM rows", [], "conversion from"),
        ("SELECT CAST(topic AS int) FROM rows", ["--csv"], "conversion from"),
        ("SELECT 1", ["--csv", "--json"], "give one of them"),
    ],
)
def test_wrong_queries_are_one_line_and_exit_code_2(
    pairs: AnnotatedDirectory, sql: str, options: list[str], message: str
) -> None:
    done = ask("query", pairs.path, sql, *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_directory_that_is_not_finished_or_damaged_is_refused(pairs: AnnotatedDirectory, tmp_path: Path) -> None:
    assert "is not a finished output" in ask("query", tmp_path / "no", "SELECT 1").stderr
    file = next((pairs.path / "data").iterdir())
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    done = ask("query", pairs.path, "SELECT count(*) FROM tokens")
    assert (done.exit_code, "the file changed" in done.stderr) == (1, True)
    assert ask("query", pairs.path, "SELECT count(*) FROM rejects").exit_code == 0


def test_filter_prints_its_summary_and_refuses_with_code_2(pairs: AnnotatedDirectory, tmp_path: Path) -> None:
    done = ask("filter", pairs.path, "-o", tmp_path / "a", "--where", "topic = 'a'", "--sample", 7)
    assert done.exit_code == 0, done.output
    assert "60 = 7 annotated + 53 rejected" in done.stdout
    assert "asr-annotate inspect" in done.stdout
    done = ask("filter", pairs.path, "-o", tmp_path / "b", "--where", "topic = 'z'")
    assert (done.exit_code, "none of the 60 annotated rows" in done.stderr) == (2, True)
