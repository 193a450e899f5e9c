from __future__ import annotations

from pathlib import Path

import pytest

from asr_data.errors import ConfigError
from asr_data.training.config import SourceConfig, TrainingConfig, sources_of_old_options


@pytest.mark.parametrize(
    ("typed", "fields"),
    [
        ("a.jsonl", {"input": "a.jsonl"}),
        ("a.jsonl:labels", {"input": "a.jsonl", "learn": "labels"}),
        ("a.jsonl:preferences,train", {"input": "a.jsonl", "learn": "preferences", "part": "train"}),
        ("owner/name:test,split=validation", {"input": "owner/name", "part": "test", "split": "validation"}),
        ("a.csv:prompt=q,chosen=a.b", {"input": "a.csv", "columns": {"prompt": "q", "chosen": "a.b"}}),
        ("a:scale=-1..2.5,group=doc", {"input": "a", "scale": (-1.0, 2.5), "group": "doc"}),
        ("a:criteria=helpfulness+coherence", {"input": "a", "criteria": {"helpfulness": 1.0, "coherence": 1.0}}),
        ("a:criteria=correctness-0.5*verbosity", {"input": "a", "criteria": {"correctness": 1.0, "verbosity": -0.5}}),
        (r"C:\data\a.jsonl", {"input": r"C:\data\a.jsonl"}),
        (r"C:\data\a.jsonl:test", {"input": r"C:\data\a.jsonl", "part": "test"}),
        ("s3://bucket/a.jsonl", {"input": "s3://bucket/a.jsonl"}),
    ],
)
def test_sources_as_they_are_typed(typed: str, fields: dict[str, object]) -> None:
    source = SourceConfig.model_validate(typed)
    assert source == SourceConfig(**fields)  # type: ignore[arg-type]
    assert SourceConfig.model_validate(str(source)) == source
    assert source.model_dump(mode="json") == str(source)


def test_a_file_of_that_very_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a:labels").touch()
    assert SourceConfig.model_validate("a:labels") == SourceConfig(input="a:labels")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("a.jsonl:lables", "'lables' is none of preferences, labels, train, test, split=…"),
        ("a.jsonl:", "'' is none of"),
        ("a.jsonl:split=", "'split=' is none of"),
        ("a.jsonl:train,test", "train and test exclude each other"),
        ("a.jsonl:scale=4..0", "the first number must be the lower one"),
        ("a.jsonl:scale=4", r"scale=4: write the worst and the best reward as LOW\.\.HIGH"),
        ("a.jsonl:criteria=beauty", "'beauty' is none of helpfulness, correctness"),
        ("a.jsonl:criteria=0*coherence", "at least one weight must not be 0"),
        ("a.jsonl:criteria=helpfulness;coherence", "write criteria with"),
    ],
)
def test_words_that_cannot_be_right(typed: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SourceConfig.model_validate(typed)


def test_there_must_be_a_source() -> None:
    with pytest.raises(ConfigError, match="no training data: name at least one INPUT"):
        TrainingConfig(sources=())


def test_old_options_in_today_s_words() -> None:
    one, two = Path("a.jsonl"), Path("b.jsonl")
    assert sources_of_old_options([one], [two], [one], [two]) == [
        "a.jsonl:preferences",
        "b.jsonl",
        "a.jsonl:labels",
        "b.jsonl:labels",
    ]
    assert sources_of_old_options(spans=[one], steps=[one], test_steps=[two], span_pairs=False) == [
        "a.jsonl:labels",
        "a.jsonl:labels,train",
        "b.jsonl:labels,test",
    ]


def test_a_source_is_written_without_the_secrets_of_its_url() -> None:
    url = "https://me:pass-word@host/pairs.jsonl?signature=abcdef"
    source = SourceConfig.model_validate(f"{url}:labels,test")
    assert source.input == url
    assert str(source) == "https://host/pairs.jsonl:labels,test"
    written = TrainingConfig(sources=[source]).model_dump_json()
    assert "https://host/pairs.jsonl:labels,test" in written
    assert "pass-word" not in written
    assert "abcdef" not in written
