from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from asr_data.conditions import condition
from asr_data.errors import ConfigError

FRAME = pl.DataFrame({"n": [1, 2, None], "m": [0.5, 2.5, 7.0], "t": ["ab", "b", "c"]})


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("n > 1", [1]),
        ("NOT n > 1", [0]),
        ("n IS NULL OR t LIKE 'a%'", [0, 2]),
        ("n % 2 = 0 AND m BETWEEN 2 AND 3", [1]),
        ("t IN ('b', 'c')", [1, 2]),
        ("1 = 1", [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("row_by_row", [False, True])
def test_rows_that_meet_it(text: str, rows: list[int], row_by_row: bool) -> None:
    found = FRAME.with_row_index().filter(condition(text, FRAME.schema, row_by_row=row_by_row))
    assert found["index"].to_list() == rows


@pytest.mark.parametrize("text", ["m > avg(m)", "max(n) > 1", "count(*) > 1", "row_number() OVER (ORDER BY m) < 2"])
def test_other_rows_are_looked_at_only_where_they_may_be(text: str) -> None:
    assert FRAME.filter(condition(text, FRAME.schema)).height > 0
    with pytest.raises(ConfigError, match="each row alone"):
        condition(text, FRAME.schema, row_by_row=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n >", "is no condition in SQL"),
        ("", "is no condition in SQL"),
        ("n", "is Int64, not true or false"),
        ("nope = 1", "no column 'nope'; there are n, m, t"),
        ("n = 1; DROP TABLE rows", "unexpected token"),
        ("n = (SELECT 1)", "query of its own"),
        ("n IN (SELECT n FROM rows)", "it holds a query of its own"),
        ("n > 1 AND", "is no condition in SQL$"),
        ("n > read_csv('x')", "unsupported function"),
        ("t > 1", "--where"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        condition(text, FRAME.schema)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("--where ")


def test_the_option_is_named() -> None:
    kinds: dict[str, Any] = {"n": pl.Int64()}
    with pytest.raises(ConfigError, match=r"^--filter 'n'"):
        condition("n", kinds, option="--filter")
