"""From a short setting to a long one, one factor at a time: which of them makes a gain vanish."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

from .credit import PLAIN, CreditSettings, run_arms
from .policy import load_base


def changed(settings: CreditSettings, text: str) -> dict[str, Any]:
    """``rows=800,learning_rate=1e-4`` as the fields of the settings.

    Raises:
        SystemExit: a name that is no setting, or a value that is not JSON.
    """
    known = asdict(settings)
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in known:
            raise SystemExit(f"{name!r} is no setting; there are {', '.join(field.name for field in fields(settings))}")
        found[name] = value if isinstance(known[name], str) else json.loads(value.lower())
    return found


def rungs(short: CreditSettings, long: Mapping[str, Any]) -> dict[str, CreditSettings]:
    """The short setting, it with each of the long one's factors alone, and with all of them."""
    base = asdict(short)
    alone = {name: CreditSettings(**{**base, name: value}) for name, value in long.items()}
    return {"short": short, **alone, "long": CreditSettings(**{**base, **long})}


def run_ladder(
    bundle: Path,
    runs: Path,
    short: CreditSettings,
    long: Mapping[str, Any],
    arms: Sequence[str],
    seeds: Sequence[int],
    budget: float,
) -> None:
    """Every rung in a directory of its own, DPO beside the arms; ``budget`` CPU minutes for each."""
    wanted = [PLAIN, *(arm for arm in arms if arm != PLAIN)]
    load = cache(lambda: load_base("cpu", short.policy))  # the same for all rungs
    for name, settings in rungs(short, long).items():
        print(f"rung {name}", flush=True)
        run_arms(bundle, runs / name, settings, wanted, seeds, budget, load)
