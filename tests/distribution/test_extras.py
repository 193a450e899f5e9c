"""Every message that names an extra, and the README's table, agree with ``pyproject.toml``."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from asr_data.scoring.gguf_file import NEEDED

ROOT = Path(__file__).parents[2]
EXTRAS = {
    extra: {Requirement(one).name for one in required}
    for extra, required in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ].items()
}


def named_packages() -> Iterator[tuple[str, str]]:
    """Package and extra of every ``MissingDependencyError("package", …, "pip install 'asr-data[extra]'")``."""
    for path in (ROOT / "asr_data").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MissingDependencyError":
                package, _, command = (
                    ast.literal_eval(one) if isinstance(one, ast.Constant) else "" for one in node.args
                )
                if package and (found := re.fullmatch(r"pip install 'asr-data\[(\w+)\]'", command)):
                    yield package, found[1]


def test_an_extra_brings_the_package_that_is_missed() -> None:
    found = set(named_packages())
    assert len(found) >= 5
    for package, extra in found:
        assert package in EXTRAS[extra], f"{package} is not in the extra {extra}"


def test_what_reads_the_built_in_model_is_in_its_extra() -> None:
    assert set(NEEDED) <= EXTRAS["builtin"]


def test_the_readme_lists_every_extra() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| extra | to |\n|---|---|\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)) == set(EXTRAS)
