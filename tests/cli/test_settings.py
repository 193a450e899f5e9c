from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_data.config import (
    BoundaryWeights,
    DatasetBaseline,
    Fixed,
    FixedBaseline,
    MaskConfig,
    Optimal,
    PairBaseline,
    Pivot,
    RunningBaseline,
    Schmitt,
    Sequence,
    SequenceBaseline,
    Step,
    Token,
)
from asr_data.errors import ConfigError
from asr_data_cli import settings
from asr_data_cli.option_groups import MachineOptions, MaskOptions, RayOptions
from asr_data_cli.setting_text import parse, parse_baseline
from asr_data_cli.settings import Checks

DEFAULTS = {parameter.name: parameter.default for parameter in MaskOptions.parameters()}


def built(**changes: Any) -> MaskConfig:
    checks = Checks()
    config = MaskOptions({**DEFAULTS, **changes}).config(checks)
    checks.finish()
    return config


def test_every_setting_has_an_option() -> None:
    kinds = {parameter.kind for parameter in MaskOptions.parameters()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    assert set(DEFAULTS) == {
        *MaskConfig.model_fields,
        "length",
        "smooth",
        "down",
        "tau",
        "delta",
        "penalty",
        "boundary",
    }


def test_defaults_are_those_of_the_library() -> None:
    assert built() == MaskConfig()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"segmenter": "pivot"}, Pivot()),
        ({"segmenter": "pivot", "tau": "0.25"}, Pivot(tau=0.25)),
        ({"segmenter": "pivot", "tau": "auto:4.5"}, Pivot(tau="auto", k=4.5)),
        ({"segmenter": "schmitt", "delta": "0"}, Schmitt(delta=0.0)),
        ({"segmenter": "schmitt", "delta": "auto"}, Schmitt(delta="auto")),
        ({"segmenter": "schmitt", "delta": "auto:2"}, Schmitt(delta="auto", k=2)),
        ({"segmenter": "optimal"}, Optimal()),
        ({"segmenter": "optimal", "penalty": "bic"}, Optimal(penalty="bic")),
        ({"segmenter": "optimal", "penalty": "paper"}, Optimal(penalty="paper")),
        (
            {"segmenter": "optimal", "penalty": "2", "boundary": "sentence=0.5, word=50,inside-word=9"},
            Optimal(penalty=2.0, boundary=BoundaryWeights(sentence=0.5, word=50, inside_word=9)),
        ),
        ({"segmenter": "step"}, Step()),
        ({"segmenter": "schmitt", "down": "2", "smooth": "0.1"}, Schmitt(down=2, smooth=0.1)),
        ({"segmenter": "fixed"}, Fixed()),
        ({"segmenter": "fixed", "length": "12"}, Fixed(length=12)),
        ({"segmenter": "token"}, Token()),
        ({"segmenter": "sequence"}, Sequence()),
    ],
)
def test_segmenters(changes: dict[str, str], expected: object) -> None:
    assert built(**changes).segmenter == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-0.5", FixedBaseline(value=-0.5)),
        ("sequence", SequenceBaseline()),
        ("pair", PairBaseline()),
        ("dataset", DatasetBaseline(statistic="median")),
        ("dataset:mean", DatasetBaseline(statistic="mean")),
        ("dataset:median", DatasetBaseline(statistic="median")),
        ("dataset:0.3", DatasetBaseline(statistic=0.3)),
        ("running", RunningBaseline(decay=0.99)),
        ("running:0.9", RunningBaseline(decay=0.9)),
    ],
)
def test_baselines(text: str, expected: object) -> None:
    assert parse_baseline(text) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"weights": "share"},
            "--weights is 'share': expected mask, segment, soft[:low=X,high=X], share:X or confidence",
        ),
        ({"weights": "share:0"}, "--weights is 'share:0': expected share:X with X a finite number > 0 and <= 1"),
        ({"weights": "soft:low=nan"}, "--weights is 'nan': expected a finite number >= -20 and <= 20 for low"),
        ({"weights": "soft:low=2"}, "--weights is invalid: low is 2 and high 1.5: low must be below high"),
        ({"weights": "soft:kind=1"}, "--weights names 'kind': expected low, high"),
        ({"tau": "1"}, "--tau belongs to --segmenter pivot and does not apply to optimal"),
        ({"segmenter": "step", "delta": "1"}, "--delta belongs to --segmenter schmitt"),
        ({"segmenter": "pivot", "boundary": "word=1"}, "--boundary belongs to --segmenter optimal"),
        (
            {"segmenter": "pivot", "tau": "-1"},
            "--tau is '-1': expected a finite number >= 0, auto or auto:K with K a finite",
        ),
        ({"segmenter": "pivot", "tau": "auto:0"}, "--tau is 'auto:0': expected a finite number >= 0"),
        ({"segmenter": "schmitt", "delta": "nan"}, "--delta is 'nan'"),
        (
            {"segmenter": "optimal", "penalty": "aic"},
            "--penalty is 'aic': expected a finite number >= 0, paper or bic",
        ),
        ({"segmenter": "optimal", "boundary": "word"}, "expected NAME=VALUE,NAME=VALUE"),
        ({"segmenter": "optimal", "boundary": "para=2"}, "inside-word, word, clause, sentence, line"),
        ({"segmenter": "optimal", "boundary": "word=1,word=2"}, "--boundary names 'word' twice"),
        ({"segmenter": "optimal", "boundary": "word=0"}, "--boundary is '0': expected a finite number > 0 for word"),
        (
            {"baseline": "mean"},
            "--baseline is 'mean': expected pair, sequence, dataset, dataset:mean, dataset:median",
        ),
        ({"baseline": "dataset:1.5"}, "dataset:median or dataset:X with X a finite number >= 0 and <= 1"),
        ({"baseline": "running:1"}, "expected running:X with X a finite number > 0 and < 1"),
        ({"baseline": "pair:2"}, "--baseline is 'pair:2'"),
        ({"baseline": "inf"}, "--baseline is 'inf'"),
    ],
)
def test_what_cannot_be_right(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        built(**changes)
    assert message in str(raised.value)


def test_all_errors_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        built(tau="1", delta="x", baseline="mean")
    lines = str(raised.value).splitlines()
    assert lines[0] == "3 options are invalid:"
    assert [line.split()[0] for line in lines[1:]] == ["--tau", "--delta", "--baseline"]


def test_batch_tokens() -> None:
    assert settings.batch_tokens("auto") == "auto"
    assert settings.batch_tokens("4096") == 4096
    for text in ("0", "-1", "1.5", "many", "²", "9" * 5_000):
        with pytest.raises(ConfigError, match="--batch-tokens"):
            settings.batch_tokens(text)


def test_device_map(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    assert settings.device_map(None) is None
    assert settings.device_map("auto") == "auto"
    path.write_text('{"layers.0": 0, "": "cpu"}', encoding="utf-8")
    assert settings.device_map(str(path)) == {"layers.0": 0, "": "cpu"}
    with pytest.raises(ConfigError, match="expected auto or a JSON file, and there is no such file"):
        settings.device_map("balanced")
    for text in ("{}", "[]", "1", '{"a": 1.5}', '{"a": true}', '{"a": null}', '{"a": {"b": 0}}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match="must hold an object of parts and devices, such as"):
            settings.device_map(str(path))
    for content in (b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="cannot read"):
            settings.device_map(str(path))
    with pytest.raises(ConfigError, match="cannot read"):
        settings.device_map(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus_per_worker": 2.0}, "--gpus-per-worker says how many GPUs a worker of --ray ADDRESS has; give both"),
        ({"ray": "auto", "gpus_per_worker": 1.5}, "--gpus-per-worker is 1.5: Ray shares one GPU or gives whole ones"),
    ],
    ids=str,
)
def test_gpus_per_worker(options: dict[str, Any], message: str) -> None:
    checks = settings.Checks()
    MachineOptions(**options).cluster(checks, "pairs.jsonl")
    with pytest.raises(ConfigError, match=message):
        checks.finish()


def test_gpus_per_worker_go_to_the_cluster() -> None:
    checks = settings.Checks()
    assert MachineOptions(ray="auto", ray_workers=2, gpus_per_worker=4).cluster(checks, "pairs.jsonl") == RayOptions(
        "auto", 2, 4
    )
    checks.finish()


def test_columns() -> None:
    assert settings.columns(["prompt=q,chosen=a b", "rejected=c"]) == {
        "prompt": "q",
        "chosen": "a b",
        "rejected": "c",
    }
    with pytest.raises(ConfigError, match="names chosen twice: 'a' and 'b'"):
        settings.columns(["chosen=a", "chosen=b"])


@given(st.text(max_size=12))
def test_any_text_is_a_setting_or_a_config_error(text: str) -> None:
    parsers = [
        lambda: parse_baseline(text),
        lambda: parse(Pivot, "tau", text, "--tau"),
        lambda: parse(Schmitt, "delta", text, "--delta"),
        lambda: parse(Optimal, "penalty", text, "--penalty"),
        lambda: parse(Optimal, "boundary", text, "--boundary"),
    ]
    for parser in parsers:
        Checks().attempt(parser, None)
