from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asr_data.errors import ConfigError
from asr_data.storage import AnnotatedDirectory
from asr_data.tables import VIEWS, matching, query, views
from asr_data.tables.sql import check_reads_views
from tests.tables.test_frames import TEXTS, stored
from tests.view.conftest import Annotate


@pytest.fixture
def texts(annotate: Annotate) -> AnnotatedDirectory:
    return annotate(TEXTS)


def asked(annotated: AnnotatedDirectory, sql: str) -> list[dict[str, Any]]:
    return query(annotated.path, sql).collect(engine="streaming").to_dicts()


def test_every_view_is_there(texts: AnnotatedDirectory) -> None:
    assert tuple(views(texts)) == VIEWS
    assert asked(texts, "SELECT asr_row, code FROM rejects") == [{"asr_row": 2, "code": "empty_response"}]
    assert [row["asr_row"] for row in asked(texts, "SELECT asr_row FROM scores")] == [0, 1]
    tokens = asked(texts, "SELECT side, count(*) AS n FROM tokens GROUP BY side ORDER BY side")
    rows = stored(texts)
    assert tokens == [
        {"side": side, "n": sum(len(row[f"{side}_ids"]) for row in rows)} for side in ("chosen", "rejected")
    ]


def test_rows_and_segments_join(texts: AnnotatedDirectory) -> None:
    found = asked(texts, "SELECT topic, text FROM segments JOIN rows USING (asr_row) WHERE side = 'rejected'")
    assert {"topic": "b", "text": "Never."} in found


def test_matching_rows_meet_the_condition(texts: AnnotatedDirectory) -> None:
    assert matching(texts.path, "topic = 'b' OR asr_margin > 99").collect()["asr_row"].to_list() == [1]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_parquet('{0}')",
        "SELECT * FROM READ_CSV('{0}')",
        "SELECT * FROM \"read_ipc\"('{0}')",
        "SELECT * FROM `read_json` ('{0}')",
        "SELECT * FROM read_parquet /* a /* b */ c */ ('{0}')",
        "SELECT * FROM read_csv -- x\n('{0}')",
        "SELECT $$'$$ AS a FROM read_csv('{0}') WHERE 1 = 1 OR '' = $$'$$",
        "SELECT a FROM rows WHERE a = (SELECT max(b) FROM read_parquet('{0}'))",
        "WITH x AS (SELECT * FROM read_csv('{0}')) SELECT * FROM x",
        "SELECT 'it''s' AS a FROM read_csv('{0}')",
        "EXPLAIN SELECT * FROM scan_parquet('{0}')",
    ],
)
def test_no_other_file_is_read(texts: AnnotatedDirectory, tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not allowed: a query reads rows, tokens, segments, scores, rejects"):
        query(texts.path, sql.format(secret))


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM '{0}'", 'SELECT * FROM "{0}"', "SELECT * FROM secret", "SELECT * FROM scan_everything"],
)
def test_files_are_no_tables(texts: AnnotatedDirectory, tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret.parquet"
    secret.write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"there is no |is not allowed"):
        query(texts.path, sql.format(secret))


def test_texts_may_speak_of_such_functions(texts: AnnotatedDirectory) -> None:
    assert asked(texts, "SELECT asr_row FROM rows WHERE chosen LIKE '%pd.read_csv(%' AND topic = 'it''s'") == []


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "must be one SELECT"),
        ("", "must be one SELECT"),
        ("DROP TABLE rows", "must be one SELECT"),
        ("/* SELECT */ DELETE FROM rows", "must be one SELECT"),
        ("-- SELECT\nCREATE TABLE x AS SELECT 1", "must be one SELECT"),
        ("SELECT 1; SELECT 2", "one \\(and only one\\) statement"),
        ("SELECT FROM WHERE", "the query: "),
        ("SELECT nope FROM rows", 'unable to find column "nope"'),
        ("SELECT * FROM nope", "there is no 'nope'; there are rows, tokens, segments, scores, rejects"),
    ],
)
def test_a_query_that_cannot_be_run_is_one_line(texts: AnnotatedDirectory, sql: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        query(texts.path, sql)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "sql", ["select 1", " (SELECT 1)", "-- why\n/* how */ WITH a AS (SELECT 1) FROM a", "FROM rows"]
)
def test_what_reads_is_let_through(sql: str) -> None:
    check_reads_views(sql)
