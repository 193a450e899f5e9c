"""The win rate of the arms' answers against the base's (paper, figure 5), by a reward model; length is the control."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .credit import UNTRAINED
from .credit_data import read_marked
from .data import SIDES
from .report import drawn_of, of_items, shown

Win = Callable[[Mapping[str, Any], Mapping[str, Any]], float | None]
"""An answer, the base's answer to the same prompt → 1, 0, or 0.5 for a tie; None where nothing can be said."""

COLUMNS: Mapping[str, Win] = {
    "win rate": lambda own, base: _win(own["reward"], base["reward"]),
    "shorter than the base's": lambda own, base: _win(-own["tokens"], -base["tokens"]),
    "win rate, of equal length": lambda own, base: _win(own["reward"], base["reward"]) if _alike(own, base) else None,
    "tokens": lambda own, _base: float(own["tokens"]),
    "ended": lambda own, _base: float(own["ended"]),
}


def judge_runs(bundle: Path, runs: Path, name: str, device: str) -> Path:
    """Write ``wins-NAME.json``: a scorer's mean token reward of every answer, and of both sides of the test pairs."""
    from asr_data.config import ScoringConfig
    from asr_data.scoring.load import load_scorer

    from .rewards import mean_rewards

    results = {path.stem: json.loads(path.read_text()) for path in sorted(runs.glob("*-[0-9]*.json"))}
    answered = {run: result["samples"] for run, result in results.items() if result.get("samples")}
    if not any(results[run]["arm"] == UNTRAINED for run in answered):
        raise SystemExit(f"{runs} holds no answers of the arm {UNTRAINED!r}; run it with prompts= in --settings")
    settings = next(iter(results.values()))["settings"]
    pairs = [one.pair for one in read_marked(bundle, "test", settings["max_length"], settings["held_out"])]
    scorer = load_scorer(name, scoring=ScoringConfig(device=device))
    asked = [(one["prompt"], one["text"]) for own in answered.values() for one in own]
    asked += [(pair.prompt, pair.text[side]) for pair in pairs for side in SIDES]
    rewards = iter(mean_rewards(scorer, [prompt for prompt, _ in asked], [text for _, text in asked]))
    samples = {run: [{**one, "reward": next(rewards)} for one in own] for run, own in answered.items()}
    known = [{side: next(rewards) for side in SIDES} for _ in pairs]
    of_arms = {run: {key: results[run][key] for key in ("arm", "seed")} for run in answered}
    path = runs / f"wins-{Path(name).name}.json"
    path.write_text(json.dumps({"scorer": Path(name).name, "runs": of_arms, "samples": samples, "pairs": known}))
    return path


def wins_report(path: Path) -> str:
    """Markdown: by arm, over the seeds that base and arm have."""
    found = json.loads(path.read_text())
    runs: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for run, of in found["runs"].items():
        runs.setdefault(of["arm"], {})[of["seed"]] = found["samples"][run]
    base = runs[UNTRAINED]
    groups = sorted({one["group"] for own in base.values() for one in own})
    lines = [f"| arm | seeds | {' | '.join(COLUMNS)} |", f"|---|---|{'---:|' * len(COLUMNS)}"]
    for arm, of_seed in runs.items():
        seeds = sorted(set(of_seed) & set(base))
        row = []
        for title, win in COLUMNS.items():
            items = [_items(of_seed[seed], base[seed], win) for seed in seeds]
            cells = of_items(items, groups)
            empty = (arm == UNTRAINED and title not in ("tokens", "ended")) or not cells.counts.sum()
            row.append("" if empty else shown(cells.value, *drawn_of(cells)))
        lines.append(f"| {arm} | {', '.join(map(str, seeds))} | {' | '.join(row)} |")
    wins = [_win(pair["chosen"], pair["rejected"]) for pair in found["pairs"]]
    known = [win for win in wins if win is not None]
    share = sum(known) / max(1, len(known))
    return "\n".join([*lines, "", f"{found['scorer']} ranks {share:.3f} of {len(known)} test pairs as people did."])


def _items(own: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]], win: Win) -> list[tuple[str, float]]:
    if [one["row"] for one in own] != [one["row"] for one in base]:
        raise SystemExit("the arm and the base answered other prompts")
    values = ((one["group"], win(one, other)) for one, other in zip(own, base, strict=True))
    return [(group, value) for group, value in values if value is not None]


def _win(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return None
    return 0.5 if one == other else float(one > other)


def _alike(own: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether two answers are within a fifth of the longer one of each other in length."""
    longer = max(own["tokens"], base["tokens"])
    return bool(abs(own["tokens"] - base["tokens"]) <= 0.2 * longer)
