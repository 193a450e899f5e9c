"""The line that says what the built-in scorer is worth comes from its report."""

from __future__ import annotations

import json

from asr_data.scoring.locate import BUILTIN
from asr_data.scoring.measured import builtin_worth


def test_the_line_has_the_report_s_figures_beside_position() -> None:
    report = json.loads((BUILTIN / "report.json").read_text(encoding="utf-8"))
    figures = {figure["name"]: figure for figure in report["figures"]}
    line = builtin_worth()
    sources = {"steps": "prmbench/test", "code": "humanevalpack/bugs", "answers": "finegrained-rlhf/pairs"}
    for kind, source in sources.items():
        figure = figures[f"{source}, rejected: sentences"]
        words = figures[f"{source}, rejected: sentences, by shared words alone"]
        assert f"{kind} {figure['value']:.2f} ({figure['length_baseline']:.2f}, {words['value']:.2f})" in line
    assert "\n" not in line
