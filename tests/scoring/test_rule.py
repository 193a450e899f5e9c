from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.config import RuleConfig
from asr_data.scoring.load import load_scorer
from asr_data.scoring.protocol import Scorer, ScorerInfo
from asr_data.scoring.rule import RuleScorer, load_rule
from asr_data.types import ByteRewards, Completion, RejectedRow, Row

SOURCE = '''
import numpy as np

def shout(prompt, response):
    """Capitals are good; what is no letter is unknown."""
    for position, character in enumerate(response):
        if character.isalpha():
            yield position, position + 1, 1 if character.isupper() else -0.5

def numbers(prompt, response):
    return [(np.int64(2), np.int32(3), np.float32(0.5)), [0, 2, True]]

def nothing(prompt, response):
    return ()

def changes_the_prompt(prompt, response):
    prompt[0]["content"] = "changed"
    return [(0, 1, 1.0)]

def at_times(prompt, response):
    if response == "bad":
        raise KeyError("no luck")
    return {
        "none": None, "one": 1, "text": [(0, 1, "1.0")], "short": [(0, 1)], "float": [(0.0, 1, 1.0)],
        "huge": [(0, 1, 10**400)], "over": [(0, 2, 1.0), (1, 3, 1.0)], "far": [(3, 5, 1.0)], "neg": [(-1, 2, 1.0)],
        "void": [(1, 1, 1.0)], "nan": [(0, 1, float("nan"))], "inf": [(0, 1, float("inf"))],
    }.get(response, [(0, 1, 1.0)])

constant = 3
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """``module(source, name)`` writes a module where Python finds it."""
    written: list[str] = []

    def write(source: str = SOURCE, name: str = "rules_of_mine") -> str:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        sys.modules.pop(name, None)
        written.append(name)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield write
    for name in written:
        sys.modules.pop(name, None)


def rewards_of(scorer: RuleScorer, text: str) -> ByteRewards:
    (scored,) = scorer.score([Row(0, {}, "Why?", (Completion("completion", text, True),))])
    assert isinstance(scored, tuple), scored
    return scored[0]


def test_spans_count_characters(module: Callable[..., str]) -> None:
    found = rewards_of(load_rule(RuleConfig(function=f"{module()}:shout")), "É 🙂ß")
    # É has two bytes, the space one, the smiley four, ß two.
    assert (found.span_end.tolist(), found.span_end.dtype) == ([2, 7, 9], np.int32)
    np.testing.assert_array_equal(found.span_reward, np.array([1.0, np.nan, -0.5], dtype=np.float32))
    assert found.step_end.tolist() == []


def test_numbers_of_other_types_in_any_order(module: Callable[..., str]) -> None:
    found = rewards_of(load_rule(RuleConfig(function=f"{module()}:numbers")), "abc")
    assert (found.span_end.tolist(), found.span_reward.tolist()) == ([2, 3], [1.0, 0.5])


def test_nothing_known(module: Callable[..., str]) -> None:
    found = rewards_of(load_rule(RuleConfig(function=f"{module()}:nothing")), "abc")
    assert found.span_end.tolist() == [3]
    assert np.isnan(found.span_reward).all()


def test_a_wrong_answer_rejects_its_row_alone(module: Callable[..., str]) -> None:
    texts = ["none", "one", "text", "short", "float", "huge", "over", "far", "neg", "void", "nan", "inf", "bad", "good"]
    rows = [Row(i, {}, "Why?", (Completion("completion", text, True),)) for i, text in enumerate(texts)]
    name = f"{module()}:at_times"
    scored = load_rule(RuleConfig(function=name)).score(rows)
    rejected = {texts[one.index]: (one.code, one.message) for one in scored if isinstance(one, RejectedRow)}
    assert set(texts) - set(rejected) == {"good"}
    assert {text for text, (code, _) in rejected.items() if code == "non_finite_reward"} == {"nan", "inf"}
    assert {code for code, _ in rejected.values()} == {"scorer_error", "non_finite_reward"}
    assert rejected["bad"][1] == f"{name}: KeyError: 'no luck'"
    assert "(0, 1, '1.0') is not (start, end, reward)" in rejected["text"][1]
    assert "overlaps" in rejected["over"][1]


def test_the_row_is_not_the_rule_s_to_change(module: Callable[..., str]) -> None:
    prompt = [{"role": "user", "content": "Why?"}]
    row = Row(0, {}, prompt, (Completion("completion", "abc", True),))
    load_rule(RuleConfig(function=f"{module()}:changes_the_prompt")).score([row])
    assert prompt == [{"role": "user", "content": "Why?"}]


def test_who_it_is(module: Callable[..., str]) -> None:
    function = f"{module()}:shout"
    scorer = load_rule(RuleConfig(function=function, form="increment"))
    assert isinstance(scorer, Scorer)
    assert scorer.tokenizer is None
    info = scorer.info
    assert (info.name, info.kind, info.form, info.partial) == (function, "rule", "increment", True)
    assert info.fingerprint == load_rule(RuleConfig(function=function, form="increment")).info.fingerprint
    others = [
        load_rule(RuleConfig(function=function)),
        load_rule(RuleConfig(function=f"{module()}:nothing", form="increment")),
        load_rule(RuleConfig(function=f"{module(SOURCE, 'rules_of_yours')}:shout", form="increment")),
        load_rule(RuleConfig(function=f"{module(SOURCE + '# other')}:shout", form="increment")),
    ]
    assert len({info.fingerprint, *(other.info.fingerprint for other in others)}) == 5
    assert isinstance(load_scorer(function, kind="rule"), RuleScorer)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("no_such_rules:shout", ConfigError, "PYTHONPATH"),
        ("rules_of_mine.more:shout", ConfigError, "no module 'rules_of_mine.more'"),
        ("rules_of_mine:whisper", ConfigError, "has no function 'whisper'"),
        ("rules_of_mine:constant", ConfigError, "has no function 'constant'"),
        ("itertools:chain", ConfigError, "no Python source file"),
        ("needs_more:shout", ScorerError, "No module named 'no_such_package'"),
        ("broken:shout", ScorerError, "importing 'broken' failed: SyntaxError"),
    ],
)
def test_rules_that_cannot_be_loaded(
    module: Callable[..., str], function: str, error: type[Exception], message: str
) -> None:
    module()
    module("import no_such_package", "needs_more")
    module("def", "broken")
    with pytest.raises(error, match=message):
        load_rule(RuleConfig(function=function))


def test_nothing_is_imported_from_the_working_directory(
    module: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "rules_in_data.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(data)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with pytest.raises(ConfigError, match="there is no module 'rules_in_data'"):
        load_rule(RuleConfig(function="rules_in_data:shout"))


HERE = "def score(prompt, response):\n    return [(0, 1, 1.0)]\n"


@pytest.mark.parametrize("typed", ["./here_rules.py:score", "here_rules.py:score", "{folder}/here_rules.py:score"])
def test_a_file_that_the_user_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    (tmp_path / "here_rules.py").write_text(HERE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    scorer = load_scorer(typed.format(folder=tmp_path), "rule")
    assert isinstance(scorer, RuleScorer)
    assert rewards_of(scorer, "a").span_reward.tolist() == [1.0]


def test_a_dot_in_place_of_the_colon(module: Callable[..., str]) -> None:
    dotted, colon = load_scorer(f"{module()}.numbers", "rule"), load_scorer(f"{module()}:numbers", "rule")
    assert dotted.info == colon.info


def test_a_module_in_this_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here_rules.py").write_text(HERE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with pytest.raises(ConfigError, match=r"for the file in this folder give \./here_rules\.py:score"):
        load_scorer("here_rules:score", "rule")


@pytest.mark.parametrize("typed", ["score", "a:b:c", "a b:c", "", ":score", "rules.py", "./rules.py", "a:1x", "x/y:z"])
def test_what_is_no_rule(typed: str) -> None:
    with pytest.raises(ConfigError, match=r"give package\.module:function, or a file"):
        load_scorer(typed, "rule")


def test_a_file_that_is_not_there_or_fails(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        load_scorer(str(tmp_path / "none.py:score"), "rule")
    (tmp_path / "bad.py").write_text("1 / 0", encoding="utf-8")
    with pytest.raises(ScorerError, match="ZeroDivisionError"):
        load_scorer(str(tmp_path / "bad.py:score"), "rule")


def test_of_pairs_of_a_row_each_answer_is_scored_once() -> None:
    asked: list[str] = []

    def length(prompt: Any, response: str) -> list[tuple[int, int, float]]:
        asked.append(response)
        return [(0, len(response), float(len(response)))]

    texts = ["a", "bb", "ccc"]

    def pair(index: int, first: int, second: int) -> Row:
        sides = (
            Completion("chosen", texts[first], preferred=True),
            Completion("rejected", texts[second], preferred=False),
        )
        return Row(index, {}, "p", sides, pair=first + second)

    rows = [pair(0, 0, 1), pair(0, 0, 2), pair(0, 1, 2), pair(1, 0, 1)]
    info = ScorerInfo("length", "rule", "value", "f" * 64)
    found = [entry for entry in RuleScorer(length, info).score(rows) if not isinstance(entry, RejectedRow)]
    assert [[one.span_reward.tolist() for one in entry] for entry in found] == [
        [[1.0], [2.0]],
        [[1.0], [3.0]],
        [[2.0], [3.0]],
        [[1.0], [2.0]],
    ]
    assert asked == ["a", "bb", "ccc", "a", "bb"]
