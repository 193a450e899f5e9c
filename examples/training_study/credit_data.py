"""Pairs, with people's marks or without, and the masks and weights of several annotated directories: the arms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from asr_data.training.split import hold_out
from asr_data.view.gold import FAULTY_BELOW

from .data import SCORER_SPLIT, SIDES, Pair, annotated_pairs


@dataclass(frozen=True, slots=True)
class MarkedPair:
    """A pair with what people marked, and what each arm trains on.

    Attributes:
        pair: prompt, tokens and texts.
        faulty: by side, for each token whether it is in a marked fault; None where nobody read the side.
        weights: by arm and side, what each token counts; 0 for a masked one.
    """

    pair: Pair
    faulty: Mapping[str, Sequence[bool | None]]
    weights: Mapping[str, Mapping[str, Sequence[float]]]


def prepare_arms(directories: Mapping[str, Path], gold: str | None, output: Path) -> dict[str, int]:
    """Write ``train.jsonl`` and ``test.jsonl``; returns their numbers of pairs.

    Of marked pairs about half of the groups are for each; without marks the test is on the questions that the
    built-in scorer held out. A row that ``--on-empty drop`` took from an arm has weight 0 there: the arm trains on the
    others.

    Args:
        directories: arm to annotated directory; all of the same rows and tokenizer.
        gold: the arm whose token rewards are people's labels (``--kind labels``); None where nobody marked the pairs.
        output: the bundle.

    Raises:
        SystemExit: directories of other tokens, or rows of too few groups.
    """
    first = gold or next(iter(directories))
    pairs = {pair.row: pair for pair in annotated_pairs(directories[first])}
    unseen = set() if gold else {pair.row for pair in hold_out(pairs.values(), *SCORER_SPLIT)[1]}
    columns = {arm: _rows(path) for arm, path in directories.items()}
    dropped = {arm: _dropped(path) for arm, path in directories.items()}
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for row, pair in pairs.items():
        if any(row not in found and row not in dropped[arm] for arm, found in columns.items()):
            continue  # an arm whose scorer refused the row would train on other pairs
        for arm, found in columns.items():
            if row in found and any(found[row][f"{side}_ids"] != pair.ids[side] for side in SIDES):
                raise SystemExit(f"{directories[arm]}: row {row} has other tokens than {directories[first]}")
        group = str((gold and columns[gold][row].get("group")) or pair.group)
        record = {
            "row": row,
            "group": group,
            "prompt": pair.prompt,
            "prompt_ids": pair.prompt_ids,
            "text": pair.text,
            "ids": pair.ids,
            "faulty": {
                side: _faulty(columns[gold][row][f"{side}_token_reward"]) if gold else [None] * len(pair.ids[side])
                for side in SIDES
            },
            "weights": {
                arm: {side: _weights(found.get(row), side, len(pair.ids[side])) for side in SIDES}
                for arm, found in columns.items()
            },
        }
        trained = _in_training(group) if gold else row not in unseen
        lines["train" if trained else "test"].append(json.dumps(record) + "\n")
    if not all(lines.values()):
        raise SystemExit(f"all rows of {directories[first]} are in one half: they need several groups")
    output.mkdir(parents=True, exist_ok=True)
    for part, of in lines.items():
        (output / f"{part}.jsonl").write_text("".join(of))
    return {part: len(of) for part, of in lines.items()}


def read_marked(bundle: Path, part: str, max_length: int, limit: int | None = None) -> list[MarkedPair]:
    """Pairs of one part no longer than ``max_length``: a row of every group, then a second of each, up to ``limit``."""
    found: list[tuple[int, int, MarkedPair]] = []
    seen: dict[str, int] = {}
    for place, line in enumerate((bundle / f"{part}.jsonl").read_text().splitlines()):
        record = json.loads(line)
        own = {name: record[name] for name in ("row", "group", "prompt", "prompt_ids", "text", "ids")}
        pair = Pair(**own, mask={side: [True] * len(ids) for side, ids in record["ids"].items()})
        if pair.length <= max_length:
            rank = seen[pair.group] = seen.get(pair.group, -1) + 1
            found.append((rank, place, MarkedPair(pair, record["faulty"], record["weights"])))
    return [marked for _, _, marked in sorted(found, key=lambda one: one[:2])][:limit]


def _rows(path: Path) -> dict[int, Mapping[str, Any]]:
    files = sorted((path / "data").glob("*.parquet"))
    return {row["asr_row"]: row for file in files for row in pq.read_table(file).to_pylist()}


def _dropped(path: Path) -> set[int]:
    """Rows that ``--on-empty drop`` took away."""
    rejects = (row for file in sorted((path / "rejects").glob("*.parquet")) for row in pq.read_table(file).to_pylist())
    return {row["asr_row"] for row in rejects if row["code"] == "empty_mask"}


def _weights(row: Mapping[str, Any] | None, side: str, size: int) -> list[float]:
    """``S_weight`` where the directory has it, else the mask; zeros for a row that was dropped."""
    if row is None:
        return [0.0] * size
    weights = row.get(f"{side}_weight")
    return [float(one) for one in (row[f"{side}_mask"] if weights is None else weights)]


def _faulty(rewards: Sequence[float | None]) -> list[bool | None]:
    return [None if reward is None else reward < FAULTY_BELOW for reward in rewards]


def _in_training(group: str) -> bool:
    return hashlib.sha256(f"credit\0{group}".encode()).digest()[0] % 2 == 0
