"""``docs/export.md``: its tables name what there is, and the loop that it points to trains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from asr_data.export import FORMATS
from asr_data.export.notes import LEFT_OUT_CODES, NOTE_CODES
from asr_data.storage import AnnotatedDirectory

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "export.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> list[str]:
    """The names in the first column of the table under a heading."""
    section = PAGE.partition(heading)[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)


def test_every_format_and_code_is_explained() -> None:
    assert first_cells("# Other trainers") == list(FORMATS)
    assert set(first_cells("## What is checked")) == {*NOTE_CODES, *LEFT_OUT_CODES}


def test_the_loop_trains(
    annotated: AnnotatedDirectory, policy_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = (DOCS / "trainers.md").read_text(encoding="utf-8").partition("\n## A loop of your own\n")[2]
    loop = re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(loop.replace('"./my-policy"', repr(str(policy_directory))), names)  # noqa: S102
    assert names["loss"].item() == pytest.approx(torch.tensor(2.0).log().item())  # policy and reference start equal
    changed = [
        not torch.equal(a, b)
        for a, b in zip(*(names[name].parameters() for name in ("policy", "reference")), strict=True)
    ]
    assert all(changed)
