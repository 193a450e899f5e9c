"""Which pairs a row with several answers becomes, in what order, and what becomes of those that are none."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.errors import ConfigError, InputError, RowRejected
from asr_data.pairs import MOST_PAIRS, PairConfig, PairRule, pair_number, pair_places, pairs_made
from asr_data.rows import Layout, normalise, normalise_all
from asr_data.types import RejectedRow, Row

COLUMNS: dict[Any, str] = {"prompt": "prompt", "completions": "completions"}
SCORED = Layout(kind="scored_completions", columns={**COLUMNS, "scores": "scores"})
RANKED = Layout(kind="ranked_completions", columns={**COLUMNS, "ranks": "ranks"})
JUDGED = Layout(kind="judged_completions", columns={**COLUMNS, "verdicts": "labels"})
RULES: tuple[PairRule, ...] = ("best-worst", "adjacent", "all", "best-rest")


def made(record: dict[str, Any], layout: Layout = SCORED, **config: Any) -> list[Any]:
    """``(pair, chosen, rejected)`` of each pair; ``(pair, code)`` of each that is none."""
    found = normalise_all(7, record, layout.with_pairs(PairConfig(**config)))
    assert {row.index for row in found} == {7}
    return [
        (row.pair, row.code) if isinstance(row, RejectedRow) else (row.pair, *(c.content for c in row.completions))
        for row in found
    ]


def scored(scores: list[float | None], texts: str = "abcd") -> dict[str, Any]:
    return {"prompt": "p", "completions": list(texts[: len(scores)]), "scores": scores}


FOUR = scored([2.0, 5.0, 1.0, 4.0])  # best first: b, d, a, c


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("best-worst", [(None, "b", "c")]),
        ("adjacent", [(0, "b", "d"), (2, "d", "a"), (5, "a", "c")]),
        ("best-rest", [(0, "b", "d"), (1, "b", "a"), (3, "b", "c")]),
        ("all", [(0, "b", "d"), (1, "b", "a"), (2, "d", "a"), (3, "b", "c"), (4, "d", "c"), (5, "a", "c")]),
    ],
)
def test_the_four_rules(rule: PairRule, expected: list[Any]) -> None:
    assert made(FOUR, rule=rule) == expected
    ranks = {**FOUR, "ranks": [3.0, 1.0, 4.0, 2.0]}
    assert made(ranks, RANKED, rule=rule) == expected


def test_the_numbers_of_five_answers() -> None:
    table = {
        (0, 1): 0,
        (0, 2): 1,
        (1, 2): 2,
        (0, 3): 3,
        (1, 3): 4,
        (2, 3): 5,
        (0, 4): 6,
        (1, 4): 7,
        (2, 4): 8,
        (3, 4): 9,
    }
    assert {places: pair_number(*places) for places in combinations(range(5), 2)} == table
    assert {number: pair_places(number) for number in range(10)} == {number: places for places, number in table.items()}
    assert pairs_made("best-worst", 5) == [6]
    assert pairs_made("adjacent", 5) == [0, 2, 5, 9]
    assert pairs_made("best-rest", 5) == [0, 1, 3, 6]
    assert pairs_made("all", 5) == [*range(10)]


def test_verdicts_make_pairs_of_a_true_and_a_false_answer() -> None:
    record = {"prompt": "p", "completions": ["a", "b", "c"], "labels": [False, True, True]}
    tie = (0, "no_preference")  # b and c
    assert made(record, JUDGED, rule="all") == [tie, (1, "b", "a"), (2, "c", "a")]
    assert made(record, JUDGED, rule="best-rest") == [tie, (1, "b", "a")]


def test_equal_answers_and_small_gaps_are_rejected_pair_by_pair() -> None:
    record = scored([5.0, 4.0, 4.0, 3.5])
    assert made(record, rule="adjacent") == [(0, "a", "b"), (2, "no_preference"), (5, "c", "d")]
    assert made(record, rule="adjacent", min_gap=1) == [(0, "a", "b"), (2, "no_preference"), (5, "small_gap")]
    assert made(record, rule="best-rest", min_gap=1.25) == [(0, "small_gap"), (1, "small_gap"), (3, "a", "d")]
    assert made(record, rule="best-worst", min_gap=1.5) == [(None, "a", "d")]
    assert made(record, rule="best-worst", min_gap=1.75) == [(None, "small_gap")]


def test_gaps_are_those_of_the_numbers_as_they_are_written() -> None:
    assert 0.3 - 0.2 < 0.1
    assert made(scored([0.3, 0.2]), rule="all", min_gap=0.1) == [(0, "a", "b")]


def test_a_gap_says_which_answers_and_how_far_apart() -> None:
    [row] = normalise_all(0, scored([1.0, 3.0]), SCORED.with_pairs(PairConfig(rule="all", min_gap=2.5)))
    assert isinstance(row, RejectedRow)
    assert row.message == "column 'scores': answers 1 and 0 are 2 apart; at least 2.5 is asked for"


def test_a_bad_answer_takes_only_its_own_pairs() -> None:
    record = {"prompt": "p", "completions": ["a", " ", "c", "a"], "scores": [4.0, 3.0, 2.0, 1.0]}
    bad = "empty_response"
    assert made(record, rule="adjacent") == [(0, bad), (2, bad), (5, "c", "a")]
    assert made(record, rule="best-rest") == [(0, bad), (1, "a", "c"), (3, "identical_sides")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"prompt": " "}, "empty_prompt"),
        ({"prompt": None}, "missing_column"),
        ({"completions": ["a", None, "c"]}, "wrong_type"),
        ({"scores": [1.0, None, 2.0]}, "missing_column"),
        ({"scores": [1.0, 2.0]}, "wrong_type"),
        ({"scores": [1.0, 1.0, 1.0]}, "no_preference"),
        ({"completions": ["a"], "scores": [1.0]}, "no_preference"),
        ({"completions": [], "scores": []}, "no_preference"),
    ],
)
def test_what_is_wrong_with_the_row_is_said_once(change: dict[str, Any], code: str) -> None:
    assert made({**scored([3.0, 2.0, 1.0]), **change}, rule="all") == [(None, code)]


def test_a_row_with_too_many_answers() -> None:
    def row(count: int) -> dict[str, Any]:
        return {"prompt": "p", "completions": [f"a{at}" for at in range(count)], "scores": [*map(float, range(count))]}

    assert len(made(row(91), rule="all")) == 4095 <= MOST_PAIRS
    assert made(row(92), rule="all") == [(None, "too_many_pairs")]
    assert len(made(row(92), rule="best-rest")) == 91


def test_the_other_answers_of_each_pair_best_first() -> None:
    rows = {
        row.pair: row
        for row in normalise_all(0, FOUR, SCORED.with_pairs(PairConfig(rule="all")))
        if isinstance(row, Row)
    }
    beside = {pair: (row.above, row.between, row.below) for pair, row in rows.items()}
    assert beside == {
        0: ((), (), ("a", "c")),
        1: ((), ("d",), ("c",)),
        2: (("b",), (), ("c",)),
        3: ((), ("d", "a"), ()),
        4: (("b",), ("a",), ()),
        5: (("b", "d"), (), ()),
    }


def test_conversations_lose_the_prompt_that_they_repeat() -> None:
    ask = {"role": "user", "content": "p"}
    says = [{"role": "assistant", "content": text} for text in "abc"]
    record = {"prompt": "p", "completions": [[ask, one] for one in says], "scores": [1.0, 2.0, 3.0]}
    row = normalise(0, record, SCORED.with_pairs(PairConfig(rule="adjacent")), 2)
    assert [c.content for c in row.completions] == [[says[1]], [says[0]]]
    assert row.above == ([says[2]],)
    assert row.prompt == [ask]


@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]) | st.floats(-9, 9), max_size=7),
    rule=st.sampled_from(RULES),
    gap=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_pair_once_and_each_better_by_the_gap(scores: list[float], rule: PairRule, gap: float) -> None:
    texts = [f"answer {at}" for at in range(len(scores))]
    record = {"prompt": "p", "completions": texts, "scores": scores}
    layout = SCORED.with_pairs(PairConfig(rule=rule, min_gap=gap))
    found = normalise_all(3, record, layout)
    of = dict(zip(texts, scores, strict=True))
    for row in found:
        if isinstance(row, Row):
            better, worse = (str(completion.content) for completion in row.completions)
            assert of[better] > of[worse]
            assert {better, worse, *row.above, *row.between, *row.below} == set(texts)
            assert normalise(3, record, layout, row.pair) == row
    if len(set(scores)) < 2:
        assert [(row.pair, row.code) for row in found if isinstance(row, RejectedRow)] == [(None, "no_preference")]
    elif len(found) > 1:
        assert [row.pair for row in found] == pairs_made(rule, len(scores))
    if rule == "all" and gap == 0:
        pairs = {frozenset(c.content for c in row.completions) for row in found if isinstance(row, Row)}
        assert pairs == {frozenset(two) for two in combinations(texts, 2) if of[two[0]] != of[two[1]]}


def test_a_layout_with_pairs_must_be_told_which() -> None:
    layout = SCORED.with_pairs(PairConfig(rule="all"))
    with pytest.raises(InputError, match="row 4 can be several pairs"):
        normalise(4, FOUR, layout)
    for pair in (6, -1, 2**40):
        with pytest.raises(InputError, match=f"row 4 has no pair {pair}: it has 4 answers"):
            normalise(4, FOUR, layout, pair)
    with pytest.raises(RowRejected, match="equal"):
        normalise(4, scored([2.0, 2.0, 1.0]), layout, 0)


def test_a_pair_is_read_without_knowing_the_rule() -> None:
    for row in normalise_all(0, FOUR, SCORED.with_pairs(PairConfig(rule="best-rest"))):
        assert normalise(0, FOUR, SCORED, row.pair) == row


@pytest.mark.parametrize(
    ("layout", "config", "asked"),
    [
        (
            Layout(kind="preference", columns={r: r for r in ("prompt", "chosen", "rejected")}),
            {"rule": "all"},
            "--pairs all",
        ),
        (Layout(kind="ordered_completions", columns=COLUMNS), {"rule": "adjacent"}, "--pairs adjacent"),
        (Layout(kind="ordered_completions", columns=COLUMNS), {"min_gap": 1.5}, "--min-gap 1.5"),
    ],
)
def test_data_without_several_answers_is_refused(layout: Layout, config: dict[str, Any], asked: str) -> None:
    with pytest.raises(ConfigError, match=f"{asked} is for rows with several answers"):
        layout.with_pairs(PairConfig(**config))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rule": "most"}, 'PairConfig.rule is \'most\': expected "best-worst", "adjacent", "all" or "best-rest"'),
        ({"min_gap": -1}, "PairConfig.min_gap is -1: expected a finite number >= 0"),
        ({"min_gap": float("nan")}, "PairConfig.min_gap is nan: expected a finite number >= 0"),
    ],
)
def test_bad_settings(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PairConfig(**config)
    assert str(caught.value) == message


def test_rows_that_were_annotated_as_pairs_are_read_as_these_again() -> None:
    record = {**FOUR, "asr_row": 4, "asr_pair": 2}
    assert made(record) == [(2, "d", "a")]
    assert made({**FOUR, "asr_pair": None}) == made({**FOUR, "asr_pair": "x"}) == [(None, "b", "c")]
    one = {"prompt": "p", "chosen": "a", "rejected": "b", "asr_pair": 2}
    preference = Layout(kind="preference", columns={role: role for role in ("prompt", "chosen", "rejected")})
    assert made(one, preference) == [(None, "a", "b")]
