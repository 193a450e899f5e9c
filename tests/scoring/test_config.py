from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asr_data.errors import AsrDataError, ConfigError, ScorerError
from asr_data.scoring.config import (
    CONFIG_NAME,
    HeadConfig,
    ImplicitConfig,
    LabelsConfig,
    LabelTokenConfig,
    PackagedBackbone,
    PromptConfig,
    RuleConfig,
    ScorerConfig,
    SequenceHeadConfig,
    StepLayoutConfig,
    TokenHeadConfig,
    read_config,
)


def write(directory: Path, text: str) -> Path:
    path = directory / CONFIG_NAME
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "config",
    [
        TokenHeadConfig(),
        TokenHeadConfig(head=HeadConfig(kind="mlp2", labels=2), transform="softmax_idx", indices=(1,)),
        TokenHeadConfig(steps=StepLayoutConfig(separator="<sep>", read="separator", split="\n")),
        TokenHeadConfig(steps=StepLayoutConfig(), prompt=PromptConfig(template="Q: {prompt}\n", special="bos")),
        TokenHeadConfig(backbone=PackagedBackbone(package="p", gguf_file="a.gguf", install="pip install p")),
        SequenceHeadConfig(read="segment_end", boundary=8),
        LabelTokenConfig(steps=StepLayoutConfig(separator="+", layout="turn_per_step", read="before_separator")),
        ImplicitConfig(form="value", beta=0.001, steps=StepLayoutConfig()),
        LabelsConfig(rewards={"+": 1.0}),
        RuleConfig(function="package.module:name"),
    ],
)
def test_written_and_read(tmp_path: Path, config: ScorerConfig) -> None:
    assert read_config(write(tmp_path, config.model_dump_json())) == config


def test_a_token_head_needs_no_kind(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, "{}")) == TokenHeadConfig()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "no_such_kind"}, "no_such_kind"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"head": {"kind": "mlp3"}}, "head.kind"),
        ({"head": {"labels": 0}}, "head.labels"),
        ({"indices": [1]}, "do not fit a head with 1 labels"),
        ({"indices": [-1]}, "indices is -1"),
        ({"indices": []}, "indices"),
        ({"steps": {"read": "separator"}}, "read 'separator' in layout 'inline' needs a separator"),
        ({"steps": {"layout": "turn_per_step"}}, "in layout 'turn_per_step' needs a separator"),
        (
            {"steps": {"layout": "turn_per_step", "separator": "+", "tokenize": "by_step"}},
            "layout 'turn_per_step' is tokenised together",
        ),
        ({"steps": {"back": -1}}, "steps.back"),
        ({"steps": {"separator_ids": [-1]}}, "separator_ids"),
        ({"prompt": {"template": "Q:"}, "steps": {}}, "template must hold {prompt}"),
        ({"prompt": {"template": "{prompt}", "system": "Be brief."}, "steps": {}}, "no place for a system message"),
        ({"prompt": {"template": "{prompt}"}}, "a prompt template is for models that read steps"),
        ({"head": {"labels": 2}, "transform": "prob_diff", "indices": [0]}, "'prob_diff' takes 2 indices"),
        ({"head": {"labels": 2}, "transform": "sigmoid", "indices": [0, 1]}, "'sigmoid' takes 1 indices"),
        ({"kind": "implicit", "steps": {}}, "steps are read from sums: form 'value'"),
        ({"kind": "rule", "function": "a.py"}, "function"),
        ({"steps": {"split": ""}}, "split must not be empty"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=CONFIG_NAME) as caught:
        read_config(write(tmp_path, json.dumps(settings)))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "null", pytest.param("[" * 100_000, id="deep")])
def test_not_an_object(tmp_path: Path, text: str) -> None:
    with pytest.raises(AsrDataError, match=CONFIG_NAME):
        read_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"kind": "contrast", "beta": 0}', "ContrastConfig.beta is 0: expected a finite number > 0"),
        ('{"kind": "contrast", "contxt": "prompt"}', "ContrastConfig.contxt is not a setting; allowed are "),
        ('{"kind": "contrast", "context": "nope"}', "ContrastConfig.context is invalid: there is no context"),
        ('{"kind": "logp", "form": "value"}', "LogProbabilityConfig.form is 'value': expected "),
        ('{"kind": "answer_value", "answer": "prompt"}', "AnswerValueConfig.answer is 'prompt': expected "),
        ('{"kind": "diff", "unit": "x"}', "DiffConfig.unit is 'x': expected "),
        ('{"kind": "logits"}', "kind is 'logits': expected one of token_head, "),
        ('{"kind": ["logp"]}', "kind is ['logp']: expected one of token_head, "),
        ("5", "expected an object with settings, not 5"),
    ],
)
def test_a_wrong_setting_is_explained_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_setting_that_is_there_twice(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="kind is set twice"):
        read_config(write(tmp_path, '{"kind": "logp", "kind": "contrast"}'))


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / CONFIG_NAME
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ScorerError, match="cannot read"):
        read_config(path)


def test_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="no scorer settings at"):
        read_config(tmp_path / CONFIG_NAME)
