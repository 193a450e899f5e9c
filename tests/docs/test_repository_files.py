"""Files that say again what ``pyproject.toml`` or the Makefile says: each is compared with it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(text("pyproject.toml"))["project"]
    return found


def test_the_workflow_runs_every_supported_python() -> None:
    workflow = yaml.safe_load(text(".github/workflows/test.yml"))
    job = workflow["jobs"]["test"]
    prefix = "Programming Language :: Python :: 3."
    listed = [name.removeprefix(prefix[:-2]) for name in project()["classifiers"] if name.startswith(prefix)]
    assert job["strategy"]["matrix"]["python"] == listed
    assert project()["requires-python"] == f">={listed[0]}"
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]


def test_the_hooks_are_the_commands_of_make_test() -> None:
    recipe = re.search(r"^test: install\n((?:\t.*\n)+)", text("Makefile"), flags=re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.group(1).splitlines()]
    (repository,) = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    entries = [hook["entry"] for hook in repository["hooks"]]
    variables = dict(re.findall(r"^test: export (\w+) := (\S+)$", text("Makefile"), flags=re.MULTILINE))
    assert variables
    environment = " ".join(f"{name}={value}" for name, value in variables.items())
    expected = [command.removesuffix(" $(PYTEST_ARGS)") for command in commands]
    assert entries == [*expected[:-1], f"env {environment} {expected[-1]}"]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert (citation["title"], citation["version"]) == (project()["name"], project()["version"])
    assert citation["license"] == project()["license"]
    assert citation["keywords"] == project()["keywords"]


def test_the_map_of_extension_points_names_what_is_there() -> None:
    places = text("CONTRIBUTING.md").partition("\n## ")[0]
    paths = re.findall(r"`((?:asr_data|cli|schemas)/[\w/.]+)`", places)
    assert len(paths) >= 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
