"""Every step of the arithmetic answers is computed again: outside of the marked faults all of them hold."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction

import pytest

from tests.sample.build import Pair, Span, pairs

ARITHMETIC = [pair for pair in pairs() if pair.topic == "arithmetic"]
each_pair = pytest.mark.parametrize("pair", ARITHMETIC, ids=[str(number) for number in range(len(ARITHMETIC))])

NUMBER = r"\d+(?:[.,]\d+)*"
TERM = rf"\(*{NUMBER}\)*(?:\s*[+−×÷/]\s*\(*{NUMBER}\)*)*"
UNIT = r"(?:\s*€)?"
CHAIN = re.compile(rf"(?<!x [+−] ){TERM}(?:{UNIT}\s*[=≈]\s*{TERM})+")
"""A calculation and its results: ``2 × (14 + 9) = 2 × 23 = 46``; not the rest of an equation in x."""

DECIMAL_COMMA = ("de", "es", "fr")
NAMES = {"Fraction": Fraction, "math": math, "round": round, "sum": sum, "range": range}


def number(text: str, language: str) -> Fraction:
    thousands, point = (".", ",") if language in DECIMAL_COMMA else (",", ".")
    return Fraction(text.replace(thousands, "").replace(point, "."))


def value(term: str, language: str) -> Fraction:
    """Exact, with Python's own parser for precedence."""
    python = re.sub(NUMBER, lambda found: f"Fraction('{number(found[0], language)}')", term)
    for sign, operator in (("×", "*"), ("÷", "/"), ("−", "-")):
        python = python.replace(sign, operator)
    result = eval(python, {"Fraction": Fraction})  # noqa: S307 - digits, signs and brackets of our own text
    assert isinstance(result, Fraction)
    return result


def decimals(term: str, language: str) -> int:
    _, _, behind = term.strip().rpartition("," if language in DECIMAL_COMMA else ".")
    return len(behind) if behind != term.strip() and behind.isdigit() else 0


def steps(text: str, language: str) -> Iterator[tuple[int, int, bool]]:
    """Start and end of every calculation, and whether it holds: exactly, or rounded to the digits shown after ≈."""
    for chain in CHAIN.finditer(text):
        terms = re.split(r"([=≈])", re.sub(r"\s*€", "", chain[0]))
        first = value(terms[0], language)
        holds = True
        for sign, term in zip(terms[1::2], terms[2::2], strict=True):
            off = abs(value(term, language) - first)
            holds &= off == 0 if sign == "=" else off <= Fraction(1, 2 * 10 ** decimals(term, language))
        yield chain.start(), chain.end(), holds


def touches(start: int, end: int, fault: Span) -> bool:
    return start < fault.end and fault.start < end


@each_pair
def test_every_step_of_the_chosen_answer_holds(pair: Pair) -> None:
    found = list(steps(pair.chosen, pair.language))
    assert found
    assert [pair.chosen[start:end] for start, end, holds in found if not holds] == []


@each_pair
def test_every_step_of_the_rejected_answer_that_is_not_marked_holds(pair: Pair) -> None:
    found = list(steps(pair.rejected, pair.language))
    unmarked = [one for one in found if not any(touches(*one[:2], fault) for fault in pair.faults)]
    assert [pair.rejected[start:end] for start, end, holds in unmarked if not holds] == []


@each_pair
def test_the_results_are_computed_on_their_own(pair: Pair) -> None:
    """``answer`` lines: what the chosen answer has to say, and an expression for it."""
    assert pair.answer
    for line in pair.answer.split("\n"):
        text, _, expression = line.rpartition(" = ")
        expected = eval(expression, NAMES)  # noqa: S307 - our own source
        assert text in pair.chosen
        if isinstance(expected, str):
            assert text == expected
        else:
            last = re.findall(rf"{NUMBER}(?:/{NUMBER})?", text)[-1 if "=" in text else 0]
            assert float(value(last, pair.language)) == pytest.approx(float(expected), abs=1e-9)


@each_pair
def test_no_result_is_both_marked_and_right(pair: Pair) -> None:
    """A marked calculation that holds starts from a wrong number, or says what the chosen answer does not."""
    for start, end, holds in steps(pair.rejected, pair.language):
        if holds and any(touches(start, end, fault) for fault in pair.faults):
            assert pair.rejected[start:end] not in pair.chosen


def test_a_wrong_step_is_found() -> None:
    text = "2 × (14 + 9) = 2 × 23 = 46, then 46 − 1.5 = 45.5, and 1/6 + 1/3 = 1/2"
    assert [holds for _, _, holds in steps(text, "en")] == [True, False, True]
    assert [holds for _, _, holds in steps("230,50 × 0,19 ≈ 43,80 und 3 ≈ 3,1", "de")] == [True, False]
