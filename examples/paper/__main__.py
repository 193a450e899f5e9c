"""The paper's evidence on data at hand: figures and tables for ``docs/evidence.md``.

    python -m examples.paper --data ../shared/data --work evidence-work
    python -m examples.paper --data … --work … --policy POLICY --reference REFERENCE    # with `implicit`, too

A pair for ``implicit`` is made by ``python -m examples.paper.dpo_pair``.

Scores what is not scored yet (a quarter of an hour on two cores, and minutes more for ``implicit``), measures, draws
``docs/images/*.svg``, and puts the tables between their marks in ``docs/evidence.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.paper import figures, tables
from examples.paper.data import FINEGRAINED, HH, LABELLED, PRMBENCH, DpoPair, prepare, score
from examples.paper.experiment import measured
from examples.paper.page import fill

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description="The paper's evidence on data at hand.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path("evidence-work"), help="inputs and scored directories")
    parser.add_argument("--policy", type=Path, help="a DPO policy, for the scorer `implicit`")
    parser.add_argument("--reference", type=Path, help="what it was trained from")
    parser.add_argument("--implicit-rows", type=int, default=36, help="judged rows of PRMBench for `implicit`")
    given = parser.parse_args()
    if (given.policy is None) != (given.reference is None):
        parser.error("--policy and --reference go together")
    pair = None if given.policy is None else DpoPair(given.policy, given.reference, given.implicit_rows)
    given.work.mkdir(exist_ok=True)
    prepare(given.data, given.work)
    wanted = [(FINEGRAINED, "builtin"), (PRMBENCH, "builtin"), (HH, "builtin")]
    if pair is not None:
        wanted += [(data, "implicit") for data in LABELLED]
    wanted += [(data, "labels") for data in LABELLED]
    found = []
    for data, scorer in wanted:
        print(f"measuring {data.name} with {scorer}", flush=True)
        found.append(measured(score(given.work, data, scorer, pair), data, scorer))
    models = [one for one in found if one.scorer != "labels"]
    judged = [one for one in models if one.data.gold is not None]
    builtin = [one for one in judged if one.scorer == "builtin"]
    labelled = [one for one in found if one.data.gold is not None]
    choice, together = tables.chosen(builtin)
    blocks = {
        "finding": tables.finding(labelled),
        "masking": tables.masking(judged),
        "differences": tables.differences(judged),
        "chosen": choice,
        "baselines": tables.baselines(builtin),
        "errors": tables.errors(builtin),
        "pairs": tables.pairs(models),
        "spread": tables.spread(models),
    }
    print(f"best for all together: {together}")
    fill(ROOT / "docs" / "evidence.md", blocks)
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    figures.pairs_right(models, images / "figure-2.svg")
    figures.reward_variances(models, images / "figure-3.svg")
    figures.faults_found(judged, images / "faults-found.svg")


if __name__ == "__main__":
    main()
