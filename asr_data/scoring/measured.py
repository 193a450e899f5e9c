"""What the built-in scorer was measured to be worth, from the report of its training."""

from __future__ import annotations

import json
from typing import Final

from asr_data.scoring.locate import BUILTIN

_SHOWN: Final = (
    ("steps", "prmbench/test, rejected: sentences"),
    ("code", "humanevalpack/bugs, rejected: sentences"),
    ("answers", "finegrained-rlhf/pairs, rejected: sentences"),
)


def builtin_worth() -> str:
    """One line: AUROC of held-out faulty sentences beside position and shared words alone, kind by kind."""
    report = json.loads((BUILTIN / "report.json").read_text(encoding="utf-8"))
    figures = {figure["name"]: figure for figure in report["figures"]}
    parts = []
    for kind, name in _SHOWN:
        words = figures[f"{name}, by shared words alone"]["value"]
        own = figures[name]
        parts.append(f"{kind} {own['value']:.2f} ({own['length_baseline']:.2f}, {words:.2f})")
    return f"AUROC of faulty sentences, held out (position alone, shared words alone): {', '.join(parts)}"
