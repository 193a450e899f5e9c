"""The data of the experiment: inputs, the groups that settings are chosen on and judged on, and scored directories."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asr_data.evaluation.sweep import half_of
from asr_data.training.examples import group_of
from examples.signals.data import DATA_SETS, DataSet, prepare, was_held_out

HH: Final = DataSet("hh", "hh-rlhf harmless, pairs alone", (), "", None, trained=True)
LABELLED: Final = tuple(data for data in DATA_SETS if data.name in ("steps", "human", "english", "german", "code"))
SAMPLE: Final = next(data for data in DATA_SETS if data.name == "sample")
STEPS, HUMAN = LABELLED[:2]


def judged(group: str) -> bool:
    """Whether figures are from this group of a prepared file; on the others, settings are chosen."""
    return not half_of([json.dumps(group, ensure_ascii=False)])[0]


def prepared(data: DataSet, folder: Path, work: Path, pairs: int) -> Path:
    """The input with a column ``group``; of what the built-in model was trained on, only what was held out."""
    if data is not HH:
        return prepare(data, folder, work, pairs, held_out=True)
    target, source = work / f"{HH.name}.jsonl", folder / "hh-rlhf/harmless-base-test.jsonl.gz"
    if not source.is_file():
        sys.exit(f"{source}: no such file; --data names the folder that holds it")
    if not target.is_file():
        rows = [row for row in map(_with_question, _rows(source)) if was_held_out(HH, row["group"])]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:pairs]]
        target.write_text("".join(lines), encoding="utf-8")
    return target


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _with_question(row: Mapping[str, Any]) -> dict[str, Any]:
    question = row["chosen"].split("\n\nHuman:")[1].split("\n\nAssistant:")[0]
    return {**row, "group": group_of(question)}


@dataclass(frozen=True, slots=True)
class DpoPair:
    """What the scorer ``implicit`` takes.

    Attributes:
        policy: a policy trained with DPO.
        reference: what it was trained from.
        rows: of each data set so many judged rows at most: two models over the whole vocabulary take their time.
    """

    policy: Path
    reference: Path
    rows: int


def score(source: Path, scorer: str, pair: DpoPair | None = None) -> Path:
    """The data set with rewards and masks, made by the command line where it is not there yet."""
    output = source.with_name(f"{source.stem}-{scorer}")
    options = {
        "builtin": [],
        "implicit": [] if pair is None else ["--model", str(pair.policy), "--reference", str(pair.reference)],
    }[scorer]
    if not (output / "asr.json").is_file():
        if scorer == "implicit" and pair is not None:
            options += ["--preset", "dpo-pair"]
            source = some_judged(source, pair.rows)
        program = [sys.executable, "-c", "from asr_data_cli.app import main; main()"]
        command = ["run", str(source), "-o", str(output), "--overwrite", *options]
        subprocess.run([*program, *command], check=True)
    return output


def some_judged(source: Path, count: int) -> Path:
    """A file of the first so many judged rows, as turns: the DPO pair was trained on them."""
    target = source.with_name(f"{source.stem}-judged.jsonl")
    with source.open(encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if judged(row["group"])]
    target.write_text("".join(json.dumps(_as_turns(row), ensure_ascii=False) + "\n" for row in rows[:count]), "utf-8")
    return target


def _as_turns(row: dict[str, Any]) -> dict[str, Any]:
    if not all(isinstance(row.get(name), str) for name in ("prompt", "chosen", "rejected")):
        return row
    turns = {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
    return {**row, **turns, "prompt": [{"role": "user", "content": row["prompt"]}]}
