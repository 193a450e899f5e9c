"""Pages that state facts of the code: each fact is compared with the code."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from asr_data.config import MaskConfig
from asr_data.judging import Judge
from asr_data.judging.output import FILES, PAIRS_SCHEMA, VERDICTS_SCHEMA
from asr_data.scoring.config import (
    AnswerValueConfig,
    ContrastConfig,
    HeadConfig,
    PromptConfig,
    ScorerKind,
    StepLayoutConfig,
    TokenHeadConfig,
    parse_config,
)
from asr_data.scoring.context_config import NAMES, columns_of
from asr_data.scoring.presets import all_presets
from asr_data_schemas import REJECT_CODES
from asr_data_schemas.docs import contract_page
from tests.docs.api_page import api_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_contract_page_is_what_the_schemas_say() -> None:
    assert (DOCS / "contract.md").read_text(encoding="utf-8") == contract_page(), (
        "run: python -m asr_data_schemas.docs > docs/contract.md"
    )


def test_the_python_page_is_what_the_modules_say() -> None:
    assert (DOCS / "api.md").read_text(encoding="utf-8") == api_page(), (
        "run: python -m tests.docs.api_page > docs/api.md"
    )


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    missing = [page.name for page in DOCS.glob("*.md") if page.name != "README.md" and f"]({page.name})" not in index]
    assert missing == []


def test_the_example_judges_are_valid_and_every_field_is_explained() -> None:
    (panel,) = (block for block in blocks("judge.md", "json") if block.startswith("["))
    judges = [Judge.model_validate(judge) for judge in json.loads(panel)]
    assert [judge.title for judge in judges] == ["MODEL", "big"]
    text = (DOCS / "judge.md").read_text(encoding="utf-8")
    names = {*Judge.model_fields, *PAIRS_SCHEMA.names, *VERDICTS_SCHEMA.names, *FILES}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_the_example_scorers_are_valid() -> None:
    separator, by_step = (TokenHeadConfig.model_validate_json(block) for block in blocks("scoring.md", "json"))
    presets = all_presets()
    written_out = presets["qwen2.5-math-prm"].config
    assert isinstance(written_out, TokenHeadConfig)
    assert (separator.head, separator.steps) == (written_out.head, written_out.steps)
    assert by_step == presets["trl-prm"].config


def test_the_example_signals_are_valid() -> None:
    contrast, answer = (parse_config(json.loads(block)) for block in blocks("signals.md", "json"))
    assert isinstance(contrast, ContrastConfig)
    assert columns_of([contrast.context], ["rejected"]) == ["rubric", "feedback"]
    assert isinstance(answer, AnswerValueConfig)
    assert (answer.answer, answer.boundary) == ("column:gold", "line")


def test_every_context_and_preset_is_explained() -> None:
    text = (DOCS / "signals.md").read_text(encoding="utf-8")
    names = [*NAMES, *(name for name, preset in all_presets().items() if preset.config.kind == "contrast")]
    assert [name for name in names if f"`{name}`" not in text] == []
    # What the page says of each preset's contexts and side.
    for name, preset in all_presets().items():
        if isinstance(preset.config, ContrastConfig):
            shown = f"| `{name}` | `{preset.config.context}` | `{preset.config.against}` | {preset.config.sides} |"
            assert shown in text


def test_every_scorer_setting_and_family_is_explained() -> None:
    text = (DOCS / "scoring.md").read_text(encoding="utf-8")
    names = {*TokenHeadConfig.model_fields, *HeadConfig.model_fields, *PromptConfig.model_fields}
    names |= {*StepLayoutConfig.model_fields, *all_presets(), *get_args(ScorerKind)}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_what_is_said_to_be_recognised_is() -> None:
    table = (DOCS / "scoring.md").read_text(encoding="utf-8").partition("## What is recognised")[2].partition("## ")[0]
    said = {
        name: not recognised.startswith("no")
        for names, recognised in re.findall(r"^\| (`.*?) \| `\w+` \| (.*?) \|$", table, flags=re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", names)
    }
    ambiguous = {"pure-prm": False, "asr-data": True}
    assert said == {name: preset.signs is not None for name, preset in all_presets().items()} | ambiguous


def test_the_example_rule_gives_spans() -> None:
    [block] = [block for block in blocks("scoring.md", "python") if "def score" in block]
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102 - our own page
    assert list(names["score"]("Hi", "a!")) == [(0, 1, 1.0), (1, 2, -1.0)]


def test_every_mask_setting_is_explained() -> None:
    text = (DOCS / "segments.md").read_text(encoding="utf-8")
    options = [f"--{name.replace('_', '-')}" for name in MaskConfig.model_fields]
    assert [option for option in options if option not in text] == []


def test_reject_codes_in_the_guide_exist() -> None:
    table = (DOCS / "data.md").read_text(encoding="utf-8").partition("## Rejected rows")[2]
    cells = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    codes = [code for cell in cells for code in re.findall(r"`(\w+)`", cell)]
    assert len(codes) > 10
    assert set(codes) <= set(REJECT_CODES)


def test_the_split_example() -> None:
    program, *_ = blocks("segments.md", "python")
    names: dict[str, object] = {}
    exec(program, names)  # noqa: S102 - the text of our own page
    np.testing.assert_array_equal(names["starts"], [0, 3, 5, 7])


# --- constraints.txt -------------------------------------------------------------------------------------

PINS = {
    canonicalize_name(line.partition("==")[0]): line.strip().partition("==")[2]
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
}


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    optional = project["project"]["optional-dependencies"].values()
    groups = [project["project"]["dependencies"], *optional, *project["dependency-groups"].values()]
    return [Requirement(text) for group in [*groups, project["build-system"]["requires"]] for text in group]


@pytest.mark.parametrize("requirement", declared(), ids=lambda requirement: requirement.name)
def test_the_pin_is_one_that_the_project_allows(requirement: Requirement) -> None:
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


def test_what_dependencies_need_is_pinned_too() -> None:
    wanted, seen = [canonicalize_name(requirement.name) for requirement in declared()], set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue  # builds the package and is not installed, or is for another platform
        wanted += [canonicalize_name(n.name) for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]
    assert sorted(seen - PINS.keys()) == []
