"""What all pairs of a row's answers cost: tokens counted, and seconds.

``python -m benchmarks.pairs ../shared/data/finegrained-rlhf/pairs.jsonl.gz`` makes rows of the prompts that have four
different answers there, with made-up scores: which answer is better changes neither tokens nor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

from asr_data.pairs import PairConfig, PairRule
from asr_data.rows import Layout, normalise_all, open_source
from asr_data.scoring.config import TokenHeadConfig
from asr_data.scoring.engine import Request
from asr_data.scoring.load import load_scorer
from asr_data.scoring.model_scorer import ModelScorer
from asr_data.scoring.packing import joins
from asr_data.scoring.protocol import Scorer, ScorerInfo
from asr_data.scoring.token_head import TokenHeadEncoder
from asr_data.scoring.tree import grow_trees
from asr_data.types import RejectedRow, Row

ANSWERS: Final = 4
LAYOUT: Final = Layout(
    kind="scored_completions", columns={"prompt": "prompt", "completions": "completions", "scores": "scores"}
)


def rows_with_answers(path: Path, count: int) -> list[dict[str, Any]]:
    """The first prompts of a preference data set that have ``ANSWERS`` different answers."""
    found: dict[str, dict[str, None]] = {}
    for batch in open_source(path).batches(1_000):
        for entry in batch:
            if not isinstance(entry, RejectedRow):
                record = entry[1]
                found.setdefault(record["prompt"], {}).update(dict.fromkeys((record["chosen"], record["rejected"])))
    rows = [
        {"prompt": [{"role": "user", "content": prompt}], "completions": list(answers), "scores": [*range(ANSWERS)]}
        for prompt, answers in found.items()
        if len(answers) == ANSWERS
    ]
    return rows[:count]


def pairs_of(records: Sequence[dict[str, Any]], rule: PairRule) -> list[Row]:
    """All pairs that a rule makes."""
    layout = LAYOUT.with_pairs(PairConfig(rule=rule))
    found = (row for index, record in enumerate(records) for row in normalise_all(index, record, layout))
    return [row for row in found if isinstance(row, Row)]


def requests_of(scorer: ModelScorer, rows: Sequence[Row]) -> list[Request]:
    """What the model is asked of the rows, in order; the same object where it is asked once for several."""
    prepared = [entry for entry in scorer.prepare(rows) if not isinstance(entry, RejectedRow)]
    return [request for entry in prepared for reading in entry for request in reading.requests]


def counts(scorer: ModelScorer, rows: Sequence[Row]) -> tuple[int, int, int]:
    """Tokens pair by pair, asked once, and computed in trees."""
    asked = requests_of(scorer, rows)
    once = list({id(request): request for request in asked}.values())
    trees = grow_trees([request.ids for request in once], joins(4_096))
    written, unique = (sum(len(request.ids) for request in requests) for requests in (asked, once))
    return written, unique, sum(len(tree.ids) for tree in trees)


def reads_alone(builtin: ModelScorer) -> ModelScorer:
    """A token head that reads each answer after its prompt, with the built-in model's tokenizer; it runs no model."""
    encoder = TokenHeadEncoder(builtin.tokenizer, TokenHeadConfig())
    info = ScorerInfo("token head", "token_head", "value", "0" * 64)
    return ModelScorer(encoder, builtin.runner, builtin.tokenizer, info, max_length=8_192, vocabulary=2**31)


def seconds_of(scorer: Scorer, calls: Sequence[Sequence[Row]]) -> float:
    """What it takes to score these, a call each."""
    before = time.perf_counter()
    for rows in calls:
        scorer.score(rows)
    return time.perf_counter() - before


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *lines])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--timed-rows", type=int, default=0, help="rows of the second table")
    asked = parser.parse_args()
    builtin = load_scorer("builtin")
    if not isinstance(builtin, ModelScorer):
        raise TypeError("the built-in scorer runs a model")
    records = rows_with_answers(asked.input, asked.rows)
    rules = get_args(PairRule)
    print(f"{len(records)} rows of {ANSWERS} answers\n")
    header = ["scorer", "--pairs", "pairs", "tokens, pair by pair", "asked once", "computed in trees", "× fewer"]
    lines = []
    for name, scorer in (("after the prompt alone", reads_alone(builtin)), ("built-in, other answer in view", builtin)):
        for rule in rules:
            rows = pairs_of(records, rule)
            written, once, computed = counts(scorer, rows)
            lines.append(
                [name, rule, *(f"{n:,}" for n in (len(rows), written, once, computed)), f"{written / computed:.1f}"]
            )
    print(markdown(header, lines))
    if asked.timed_rows:
        timed = records[: asked.timed_rows]
        every = pairs_of(timed, "all")
        builtin.score(every[:1])
        found = [
            ["best-worst", f"{seconds_of(builtin, [pairs_of(timed, 'best-worst')]):.1f}"],
            ["all", f"{seconds_of(builtin, [every]):.1f}"],
            ["all, pair by pair", f"{seconds_of(builtin, [[row] for row in every]):.1f}"],
        ]
        print(f"\n{len(timed)} rows, built-in model\n")
        print(markdown(["pairs", "seconds"], found))


if __name__ == "__main__":
    main()
