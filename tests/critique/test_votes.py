"""Votes on characters, by hand."""

from __future__ import annotations

from asr_data.critique.journal import Fault
from asr_data.critique.reply import Severity
from asr_data.critique.votes import ErrorSpan, error_spans

TEXT = "The capital of Australia is Sydney, a city."
#       0         1         2         3         4
#       0123456789012345678901234567890123456789012


def fault(start: int, end: int, kind: str = "fact", severity: Severity | None = "major", reason: str = "") -> Fault:
    return Fault(start=start, end=end, kind=kind, severity=severity, reason=reason)


def words(*critiques: list[Fault]) -> list[tuple[str, str, int]]:
    return [(TEXT[one.start : one.end], one.kind, one.votes) for one in error_spans(TEXT, critiques)]


def test_one_critic_is_enough_for_its_own_faults() -> None:
    (span,) = error_spans(TEXT, [[fault(28, 34, reason="It is Canberra.")]])
    assert span == ErrorSpan(28, 34, "fact", "major", "It is Canberra.", 1, 1)
    assert error_spans(TEXT, [[]]) == []


def test_of_two_both_must_mark_a_character() -> None:
    assert words([fault(0, 34)], [fault(28, 43)]) == [("Sydney", "fact", 2)]
    assert words([fault(28, 34)], []) == []


def test_of_three_two_are_enough() -> None:
    assert words([fault(0, 34)], [fault(28, 34)], []) == [("Sydney", "fact", 2)]
    assert words([fault(4, 34)], [fault(28, 43)], [fault(28, 34)]) == [("Sydney", "fact", 2 + 1)]
    assert words([fault(4, 34)], [fault(28, 43)], [fault(36, 37)]) == [("Sydney", "fact", 2), ("a", "fact", 2)]


def test_a_critic_that_marks_a_character_twice_has_one_vote() -> None:
    assert words([fault(28, 34), fault(28, 34)], [], []) == []


def test_overlapping_faults_of_one_critic_the_worst_holds() -> None:
    marked = [fault(4, 34, "style", "minor"), fault(28, 43, "fact", "critical")]
    assert words(marked) == [("capital of Australia is", "style", 1), ("Sydney, a city.", "fact", 1)]
    first = [fault(0, 11, "a"), fault(4, 11, "b")]
    assert words(first) == [("The capital", "a", 1)]


def test_the_kind_of_most_votes_then_the_worst_then_the_first_by_name() -> None:
    assert words([fault(28, 34, "x")], [fault(28, 34, "y")], [fault(28, 34, "y")]) == [("Sydney", "y", 3)]
    assert words([fault(28, 34, "x", "minor")], [fault(28, 34, "y", "critical")]) == [("Sydney", "y", 2)]
    assert words([fault(28, 34, "y", None)], [fault(28, 34, "x", None)]) == [("Sydney", "x", 2)]


def test_neighbours_of_one_kind_are_one_span_with_all_reasons() -> None:
    (span,) = error_spans(TEXT, [[fault(4, 11, reason="one"), fault(11, 24, severity="critical", reason="two")]])
    assert span == ErrorSpan(4, 24, "fact", "critical", "one | two", 1, 1)


def test_white_space_at_the_ends_is_left_out_and_white_space_alone_is_nothing() -> None:
    assert words([fault(27, 36)]) == [("Sydney,", "fact", 1)]
    assert words([fault(27, 28)]) == []
