"""What the built-in scorer was measured to be worth, from the report of its training."""

from __future__ import annotations

import json
from typing import Final

from asr_data.scoring.locate import BUILTIN

_TOKENS: Final = "mean AUROC of token values within a response"
_SHOWN: Final = (
    ("solutions", f"prmbench/test: {_TOKENS}"),
    ("answers", f"finegrained-rlhf/pairs: {_TOKENS}"),
)


def builtin_worth() -> str:
    """One line: AUROC of held-out faulty tokens beside that of position alone, kind by kind."""
    report = json.loads((BUILTIN / "report.json").read_text(encoding="utf-8"))
    figures = {figure["name"]: figure for figure in report["figures"]}
    parts = [f"{kind} {figures[name]['value']:.2f} ({figures[name]['length_baseline']:.2f})" for kind, name in _SHOWN]
    return f"AUROC of faulty tokens, held out (position alone): {', '.join(parts)}"
