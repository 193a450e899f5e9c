"""Methods in turn: order, medians and ratios by hand. Nothing here waits for a clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.rounds import Rounds, Sample, Spread, interleave, reported, timed


def test_every_other_round_is_in_the_opposite_order() -> None:
    ran: list[str] = []
    methods = {name: lambda name=name: ran.append(name) for name in "abc"}
    interleave(methods, 3)
    assert "".join(ran) == "abc" + "cba" + "abc"


def test_a_ratio_is_of_its_round() -> None:
    # The machine became three times slower: medians of each method alone would give 30 / 3 or 20 / 2.
    rounds = Rounds(
        {"ours": [Sample(1, 2), Sample(3, 4), Sample(2, 3)], "loop": [Sample(4, 2), Sample(12, 8), Sample(10, 9)]}
    )
    assert rounds.ratio("loop", "ours") == Spread(4, 4, 5)
    assert rounds.cpu_ratio("loop", "ours") == Spread(2, 1, 3)
    assert rounds.wall("loop") == Spread(10, 4, 12)
    assert rounds.cpu("ours") == Spread(3, 2, 4)
    assert rounds.of(lambda one: one["loop"].wall - one["ours"].cpu) == Spread(7, 2, 8)


def test_methods_that_measure_themselves() -> None:
    runs = iter([Sample(1.5, 1.0, "first"), Sample(2.5, 1.0, "second")])
    rounds = interleave({"child": lambda: next(runs)}, 2, reported)
    assert rounds.wall("child") == Spread(2.0, 1.5, 2.5)
    assert rounds.answer("child") == "second"
    with pytest.raises(TypeError, match="must return a Sample, not a int"):
        reported(lambda: 3)


def test_a_run_keeps_its_answer() -> None:
    sample = timed(lambda: [1, 2])
    assert sample.answer == [1, 2]
    assert sample.wall >= 0
    assert sample.cpu >= 0


def test_a_spread_in_words() -> None:
    assert f"{Spread.of([3.0, 1.0, 2.0, 10.0]):.1f}" == "2.5 (1.0 to 10.0)"


def test_another_unit() -> None:
    assert Spread(2, 1, 4).times(10) == Spread(20, 10, 40)


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    kept, ran = tmp_path / "rounds.jsonl", []

    def method(name: str) -> Sample:
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(name)
        return Sample(len(ran), 0.5, [name])

    methods = {name: lambda name=name: method(name) for name in "ab"}
    with pytest.raises(KeyboardInterrupt):  # in the second round, which goes from b to a
        interleave(methods, 3, reported, kept)
    assert ran == ["a", "b", "b"]
    ran.append("stopped")
    rounds = interleave(methods, 3, reported, kept)
    assert "".join(ran[4:]) == "ba" + "ab"
    assert rounds.wall("a") == Spread(6, 1, 7)  # of a: 1 before, then 6 and 7
    assert rounds.answer("b") == ["b"]
    assert interleave(methods, 2, reported, kept).samples["a"] == [Sample(1, 0.5, ["a"]), Sample(6, 0.5, ["a"])]
    with pytest.raises(ValueError, match=r"rounds.jsonl, line 1: rounds of a, b, not of a$"):
        interleave({"a": methods["a"]}, 3, reported, kept)
