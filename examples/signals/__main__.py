"""The bench of signals: every signal with every segmenter on labelled data, beside position and diff.

    python -m examples.signals --data ../shared/data --work signals-work
    python -m examples.signals --data … --work … --model Qwen/Qwen2.5-7B-Instruct --only hindsight,logp-better

Scores what is not scored yet and may be stopped at any time; run again, it goes on. Writes the findings to
``WORK/findings.json`` and, with ``--page``, the tables between their marks in that page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from examples.paper.page import fill
from examples.signals.data import DATA_SETS, DataSet, prepare
from examples.signals.measure import Finding, findings
from examples.signals.signals import SIGNALS, Signal, is_scored, score
from examples.signals.tables import blocks

ROOT = Path(__file__).parents[2]
Named = TypeVar("Named", DataSet, Signal)


def main() -> None:
    """Score, measure, write."""
    parser = argparse.ArgumentParser(description="The bench of signals.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path("signals-work"), help="inputs and scored directories")
    parser.add_argument("--model", default="builtin", help="the language model that signals of context are read from")
    parser.add_argument("--pairs", type=int, default=60, help="pairs of each data set at most")
    parser.add_argument("--only", help="names of signals, with commas; default all")
    parser.add_argument("--data-sets", help="names of data sets, with commas; default all")
    parser.add_argument("--no-scoring", action="store_true", help="only what is scored already")
    parser.add_argument("--segmenter", default="optimal", help="of the tables with one column a data set")
    parser.add_argument("--page", type=Path, help="a Markdown page to put the tables into")
    given = parser.parse_args()
    signals = _named(SIGNALS, given.only, parser)
    data_sets = _named(DATA_SETS, given.data_sets, parser)
    given.work.mkdir(exist_ok=True)
    found: dict[tuple[str, ...], Finding] = {}
    for data in data_sets:
        source = prepare(data, given.data, given.work, given.pairs)
        for signal in signals:
            if given.no_scoring and not is_scored(signal, source, given.work):
                continue
            print(f"{data.name}: {signal.name}", flush=True)
            for one in findings(score(signal, source, given.model, given.work), data, signal):
                # Controls come with every signal; those of the first one are shown.
                found.setdefault((one.data, one.signal, one.side, one.segmenter, one.measure), one)
    text = json.dumps([asdict(one) for one in found.values()], ensure_ascii=False, indent=1)
    (given.work / "findings.json").write_text(text + "\n", encoding="utf-8")
    tables = blocks([*found.values()], given.segmenter)
    if given.page is None:
        print("\n\n".join(f"{name}\n\n{block}" for name, block in tables.items()))
    else:
        fill(given.page, tables)


def _named(there: Sequence[Named], given: str | None, parser: argparse.ArgumentParser) -> list[Named]:
    """Those of ``there`` whose names are given, with commas; all where none is."""
    names = [one.name for one in there] if given is None else given.split(",")
    unknown = sorted(set(names) - {one.name for one in there})
    if unknown:
        parser.error(f"no such name: {', '.join(unknown)}; there are {', '.join(one.name for one in there)}")
    return [one for one in there if one.name in names]


if __name__ == "__main__":
    main()
