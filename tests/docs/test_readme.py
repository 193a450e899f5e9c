"""The README does what it says: its commands and snippets run, in order, on a tiny reward model and policy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT
from tests.docs.props import PAIRS

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.filterwarnings("ignore")  # of trainers and models; none of them is ours
def test_own_data_own_model_own_trainer(run_page: Callable[[Path], dict[str, Any]]) -> None:
    names = run_page(ROOT / "README.md")
    assert len(names["rows"]) == len(PAIRS)
    for row, labelled in zip(names["rows"], names["train"], strict=True):
        prompt = len(row["prompt_ids"])
        assert labelled["labels"][:prompt] == [-100] * prompt
        trained = [label != -100 for label in labelled["labels"][prompt:]]
        assert trained == row["chosen_mask"]
        assert len(labelled["input_ids"]) == len(labelled["labels"])
    assert list(Path("tuned").glob("checkpoint-*"))
    # The policy equals the reference, so the margin is 0 and the loss -log(1/2).
    assert names["loss"].item() == pytest.approx(0.693147, abs=1e-5)
    assert Path("for-llamafactory/llamafactory-dpo.yaml").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_local_links_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [t for t in targets if t.partition("#")[0] and not (page.parent / t.partition("#")[0]).exists()]
    assert missing == []
