"""The line that says what the built-in scorer is worth comes from its report."""

from __future__ import annotations

import json

from asr_data.scoring.locate import BUILTIN
from asr_data.scoring.measured import builtin_worth


def test_the_line_has_the_report_s_figures_beside_position() -> None:
    report = json.loads((BUILTIN / "report.json").read_text(encoding="utf-8"))
    figures = {figure["name"]: figure for figure in report["figures"]}
    line = builtin_worth()
    tokens = "mean AUROC of token values within a response"
    for kind, data in (("solutions", "prmbench/test"), ("answers", "finegrained-rlhf/pairs")):
        figure = figures[f"{data}: {tokens}"]
        assert f"{kind} {figure['value']:.2f} ({figure['length_baseline']:.2f})" in line
    assert "\n" not in line
