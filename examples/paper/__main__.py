"""The paper's evidence on data at hand: figures and tables for ``docs/evidence.md``.

    python -m examples.paper --data ../shared/data --work evidence-work
    python -m examples.paper --data … --work … --policy POLICY --reference REFERENCE    # with `implicit`, too

A pair for ``implicit`` is made by ``python -m examples.paper.dpo_pair``.

Scores what is not scored yet (a quarter of an hour on two cores, and minutes more for ``implicit``), measures, draws
``docs/images/*.svg``, and puts the tables between their marks in ``docs/evidence.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from examples.paper import figures, tables
from examples.paper.data import HH, HUMAN, LABELLED, SAMPLE, STEPS, DpoPair, prepared, score
from examples.paper.experiment import Scored, measured
from examples.paper.page import fill
from examples.paper.worth import Worth, kept_table, worth, worth_table
from examples.signals.measure import AUROC, MASKS

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description="The paper's evidence on data at hand.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path("evidence-work"), help="inputs and scored directories")
    parser.add_argument("--pairs", type=int, default=120, help="pairs of each data set at most")
    parser.add_argument("--policy", type=Path, help="a DPO policy, for the scorer `implicit`")
    parser.add_argument("--reference", type=Path, help="what it was trained from")
    parser.add_argument("--implicit-rows", type=int, default=36, help="judged rows of a data set for `implicit`")
    given = parser.parse_args()
    if (given.policy is None) != (given.reference is None):
        parser.error("--policy and --reference go together")
    pair = None if given.policy is None else DpoPair(given.policy, given.reference, given.implicit_rows)
    given.work.mkdir(exist_ok=True)
    everything = (*LABELLED, SAMPLE, HH)
    sources = {data.name: prepared(data, given.data, given.work, given.pairs) for data in everything}
    wanted = [(data, "builtin") for data in everything]
    wanted += [(data, "implicit") for data in (STEPS, HUMAN) if pair is not None]
    wholes, sides, worths = [], [], []
    for data, scorer in wanted:
        print(f"measuring {data.name} with {scorer}", flush=True)
        directory = score(sources[data.name], scorer, pair)
        whole, of_sides = measured(directory, data, scorer)
        wholes.append(whole)
        sides += of_sides
        worths += list(worth(directory, data)) if scorer == "builtin" and data.gold else []
    fill(ROOT / "docs" / "evidence.md", blocks(wholes, sides, worths))
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    figures.pairs_right(wholes, images / "figure-2.svg")
    figures.reward_variances(wholes, images / "figure-3.svg")
    figures.faults_found(
        [one for one in sides if (one.scorer, one.side) == ("builtin", "rejected")], images / "faults-found.svg"
    )


def blocks(wholes: Sequence[Scored], sides: Sequence[Scored], worths: Sequence[Worth]) -> dict[str, str]:
    """The tables of the page by the names of their marks."""
    builtin = [one for one in sides if one.scorer == "builtin"]
    choice, together = tables.chosen([one for one in builtin if one.choosing is not None and one.data is not SAMPLE])
    print(f"best for all together: {together}")
    return {
        "worth": worth_table(worths, AUROC),
        "worth-masks": worth_table(worths, MASKS),
        "kept": kept_table(worths),
        "finding": tables.finding(sides),
        "masking": tables.masking(sides),
        "differences": tables.differences(sides, "segment_auroc"),
        "differences-masks": tables.differences(sides, "balanced_accuracy"),
        "chosen": choice,
        "baselines": tables.baselines([one for one in builtin if one.side == "rejected"]),
        "errors": tables.errors([one for one in wholes if one.scorer == "builtin"]),
        "pairs": tables.pairs(wholes),
        "spread": tables.spread(wholes),
    }


if __name__ == "__main__":
    main()
