"""What the built-in scorer was measured to be worth, from the report of its training."""

from __future__ import annotations

import json
from typing import Final

from asr_data.scoring.locate import BUILTIN

_SHOWN: Final = (
    ("solutions", "prmbench/test, rejected: sentences"),
    ("code", "humanevalpack/bugs, rejected: sentences"),
    ("answers", "finegrained-rlhf/pairs, rejected: sentences"),
    ("translations", "wmt-mqm/news-zhen, rejected: sentences"),
)


def builtin_worth() -> str:
    """One line: AUROC of held-out faulty sentences beside that of position alone, kind by kind."""
    report = json.loads((BUILTIN / "report.json").read_text(encoding="utf-8"))
    figures = {figure["name"]: figure for figure in report["figures"]}
    parts = [
        f"{kind} {figures[name]['value']:.2f} ({figures[name]['length_baseline']:.2f})"
        for kind, name in _SHOWN
        if name in figures
    ]
    return f"AUROC of faulty sentences, held out (by position alone): {', '.join(parts)}"
