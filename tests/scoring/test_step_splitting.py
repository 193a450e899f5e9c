from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.scoring.step_splitting import split_steps, step_ends


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("one", [("one", "")]),
        ("one\n\ntwo", [("one", "\n\n"), ("two", "")]),
        ("one\n\n\n\ntwo", [("one", "\n\n\n\n"), ("two", "")]),
        ("one \n\n \n\n two", [("one", " \n\n \n\n "), ("two", "")]),
        ("one\n\ntwo\n\n", [("one", "\n\n"), ("two", "\n\n")]),
        ("one\n\ntwo\n", [("one", "\n\n"), ("two", "\n")]),
        (" one ", [(" one", " ")]),
        ("one\n\n  ", [("one", "\n\n  ")]),
        ("\n\none", [("\n\none", "")]),
        ("one\ntwo", [("one\ntwo", "")]),
        ("\n\n", [("\n\n", "")]),
    ],
)
def test_steps(text: str, steps: list[tuple[str, str]]) -> None:
    assert split_steps(text, "\n\n") == steps


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("one", [("one", "")]),
        ("one\n two ", [("one", "\n"), (" two ", "")]),
        ("one\n\ntwo\n", [("one", "\n"), ("", "\n"), ("two", "\n")]),
        ("\none\n\n", [("", "\n"), ("one", "\n"), ("", "\n")]),
        ("\n", [("", "\n")]),
    ],
)
def test_empty_steps_can_be_kept(text: str, steps: list[tuple[str, str]]) -> None:
    assert split_steps(text, "\n", keep_empty=True) == steps


def test_ends_count_bytes() -> None:
    assert step_ends([("é", "\n\n"), ("👩", "")]).tolist() == [4, 8]


def test_a_separator_is_not_a_pattern() -> None:
    assert split_steps("a.b", ".") == [("a", "."), ("b", "")]
    assert split_steps("a.b", "?") == [("a.b", "")]


@given(text=st.text("ab \n.é", max_size=20), separator=st.sampled_from(["\n\n", "\n", ". ", "b"]))
def test_nothing_is_lost_and_no_step_is_empty(text: str, separator: str) -> None:
    steps = split_steps(text, separator)
    assert "".join(step + between for step, between in steps) == text
    if text.strip().replace(separator.strip() or "\n", "").strip():
        assert all(step.strip() for step, _ in steps)
    ends = step_ends(steps).tolist()
    assert ends[-1] == len(text.encode())
    assert ends == sorted(set(ends))
