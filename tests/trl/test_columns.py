"""A class label says what its name says, in a trainer as in annotation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import pytest

import asr_data
from asr_data.errors import ConfigError
from asr_data.pairs import PairConfig
from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.rule import RuleScorer
from asr_data.trl.columns import PAIR, Columns

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


def test_ids_are_compared_with_those_of_the_row_s_own_pair(make_tokenizer: Callable[..., Any]) -> None:
    answers = ["Blue, like the sky.", "Red.", "Seven is none."]
    given = datasets.Dataset.from_list([{"instruction": "A color?", "completions": answers, "scores": [2.0, 3.0, 1.0]}])
    info = ScorerInfo("length", "rule", "value", "f" * 64)
    scorer = RuleScorer(lambda _, response: [(0, len(response), float(len(response)))], info)
    tokenizer = make_tokenizer()
    rows = asr_data.annotate(given, scorer, tokenizer, pairs=PairConfig(rule="all"))
    assert rows["asr_pair"] == [0, 1, 2]
    Columns().check(rows, PAIR, tokenizer.hf, "train")
    swapped = datasets.Dataset.from_list([{**row, "asr_pair": 2 - row["asr_pair"]} for row in rows], rows.features)
    with pytest.raises(ConfigError, match="sampled row 0, chosen"):
        Columns().check(swapped, PAIR, tokenizer.hf, "train")
