"""A class label says what its name says, in a trainer as in annotation."""

from __future__ import annotations

import datasets
import pytest

from asr_data.errors import ConfigError
from asr_data.trl.columns import Columns

SCHEMA = datasets.Features({"label": datasets.ClassLabel(names=["correct", "incorrect"])}).arrow_schema
PLAIN = datasets.Features({"label": datasets.ClassLabel(names=["true", "false"])}).arrow_schema


def test_a_class_label_is_read_by_its_name() -> None:
    columns = Columns(roles={"label_true": "correct"})
    assert [columns.verdict({"label": number}, SCHEMA) for number in (0, 1)] == [True, False]
    assert [Columns().verdict({"label": number}, PLAIN) for number in (0, 1)] == [True, False]


def test_names_that_do_not_say_it_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"correct \(0\), incorrect \(1\)"):
        Columns().verdict({"label": 0}, SCHEMA)


def test_without_classes_numbers_count() -> None:
    assert [Columns().verdict({"label": number}) for number in (0, 1)] == [False, True]
    assert Columns().verdict({})
