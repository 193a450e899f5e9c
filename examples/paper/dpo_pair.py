"""A small policy trained with DPO, and its reference, for the scorer ``implicit``: minutes on one core.

    python -m examples.paper.dpo_pair --data ../shared/data --work evidence-work
    python -m examples.paper --data … --work … --policy evidence-work/policy --reference evidence-work/reference

SmolLM2-135M-Instruct with an adapter, trained by the training study's own steps on pairs that are not judged: short
ones of FineGrainedRLHF's other questions and of PRMBench's training problems, one of each question. They are tokenised
as ``implicit`` reads them.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import torch

from asr_data.errors import RowRejected
from asr_data.rows import detect, first_records, open_source, read_rows
from asr_data.scoring.load import load_scorer_tokenizer
from asr_data.text.align import align
from asr_data.text.tokenizer import Tokenizer
from asr_data.training.examples import group_of
from asr_data.types import Row
from examples.signals.data import DATA_SETS, was_held_out
from examples.training_study.data import SIDES, Pair, write_pairs
from examples.training_study.methods import METHODS
from examples.training_study.policy import Policy
from examples.training_study.run import Settings, Study

SETTINGS = Settings(rows=None, max_length=160, epochs=2, layers=30, learning_rate=5e-4)
SEED = 0
HUMAN = next(data for data in DATA_SETS if data.name == "human")


def main() -> None:
    """Train and write both models."""
    parser = argparse.ArgumentParser(description="A small DPO policy and its reference.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("evidence-work"))
    parser.add_argument("--pairs", type=int, default=80, help="of each data set")
    given = parser.parse_args()
    given.work.mkdir(exist_ok=True)
    tokenizer = load_scorer_tokenizer("builtin")
    sources = (given.data / HUMAN.files[0], given.data / "prmbench/train.jsonl.gz")
    pairs = [pair for source in sources for pair in short_pairs(source, given.pairs, tokenizer)]
    write_pairs(given.work / "dpo-pairs", "train", pairs)
    write_pairs(given.work / "dpo-pairs", "held_out", [])
    train(given.work / "dpo-pairs", given.work / "policy", given.work / "reference")


def short_pairs(source: Path, count: int, tokenizer: Tokenizer) -> Iterator[Pair]:
    """Up to so many pairs, each of a question of its own that is not judged, drawn by chance."""
    opened = open_source(source)
    layout = detect(opened.schema, first_records(opened))
    rows = [row for some in read_rows(opened, layout, 256) for row in some if isinstance(row, Row)]
    random.Random(SEED).shuffle(rows)  # noqa: S311 - not for secrets
    seen: set[str] = set()
    for row in rows:
        group = group_of(row.prompt)
        pair = None if group in seen or was_held_out(HUMAN, group) else _pair(row, group, tokenizer)
        if pair is not None and pair.length <= SETTINGS.max_length and len(seen) < count:
            seen.add(group)
            yield pair


def _pair(row: Row, group: str, tokenizer: Tokenizer) -> Pair | None:
    try:
        aligned = align(row, tokenizer)
    except RowRejected:
        return None
    of = {str(c.side): response for c, response in zip(row.completions, aligned.responses, strict=True)}
    return Pair(
        row=row.index,
        group=group,
        prompt=[],  # for answers of the policy's own: none are drawn
        prompt_ids=aligned.prompt_ids,
        text={side: of[side].text for side in SIDES},
        ids={side: of[side].ids for side in SIDES},
        mask={side: [True] * len(of[side].ids) for side in SIDES},
    )


def train(bundle: Path, policy: Path, reference: Path) -> None:
    """DPO; the policy is written as an adapter that names the reference as its base."""
    study = Study(bundle, SETTINGS, "cpu")
    print(f"training on {len(study.train)} pairs", flush=True)
    trained = Policy(study.base, study.tokenizer, SETTINGS.rank, SETTINGS.layers)
    losses = study.fit(trained, METHODS["dpo"], SEED).curve
    print("loss by step:", " ".join(f"{loss:.3f}" for loss in losses))
    reference_model = study.base.to(torch.bfloat16)
    reference_model.tie_weights()  # in training, the head had its own copy in float32
    reference_model.save_pretrained(reference)
    study.tokenizer.save_pretrained(reference)
    trained.decoder.peft_config["default"].base_model_name_or_path = str(reference.resolve())
    trained.decoder.save_pretrained(policy)


if __name__ == "__main__":
    main()
