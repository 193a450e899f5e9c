"""From an annotated directory to what the study reads: two Parquet files, training and held-out questions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from asr_data.response import response_text
from asr_data.rows import detect, normalise
from asr_data.training.examples import group_of
from asr_data.training.split import hold_out

SIDES = ("chosen", "rejected")
SCORER_SPLIT = (0.15, 17)
"""Share and seed with which the built-in scorer held questions out. The study holds out the same ones, so that
neither policy nor scorer has seen them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference pair over policy tokens.

    Attributes:
        row: index of the input row.
        group: identity of the question; what intervals are over.
        prompt: messages.
        prompt_ids: its tokens.
        text: the responses, by side.
        ids: their tokens.
        mask: true where a token is trained on.
    """

    row: int
    group: str
    prompt: list[dict[str, str]]
    prompt_ids: list[int]
    text: dict[str, str]
    ids: dict[str, list[int]]
    mask: dict[str, list[bool]]

    @property
    def length(self) -> int:
        """Tokens of the longer side with its prompt."""
        return len(self.prompt_ids) + max(len(ids) for ids in self.ids.values())


def prepare(annotated: Path, output: Path) -> dict[str, int]:
    """Write ``train.parquet`` and ``held_out.parquet``; returns their numbers of pairs."""
    train, held_out = hold_out(list(annotated_pairs(annotated)), *SCORER_SPLIT)
    parts = {"train": train, "held_out": held_out}
    for name, pairs in parts.items():
        write_pairs(output, name, pairs)
    return {name: len(pairs) for name, pairs in parts.items()}


def write_pairs(bundle: Path, part: str, pairs: Sequence[Pair]) -> None:
    """What :func:`read_pairs` reads."""
    bundle.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([_record(pair) for pair in pairs], _SCHEMA), bundle / f"{part}.parquet")


def read_pairs(bundle: Path, part: str, max_length: int, limit: int | None = None) -> list[Pair]:
    """Pairs of one part that are no longer than ``max_length``, in the input's order."""
    pairs = []
    for record in pq.read_table(bundle / f"{part}.parquet").to_pylist():
        sides = {part: {side: record[f"{side}_{part}"] for side in SIDES} for part in _OF_SIDES}
        pair = Pair(record["row"], record["group"], json.loads(record["prompt"]), record["prompt_ids"], **sides)
        if pair.length <= max_length:
            pairs.append(pair)
    return pairs[:limit]


_OF_SIDES: dict[str, pa.DataType] = {"text": pa.string(), "ids": pa.list_(pa.int32()), "mask": pa.list_(pa.bool_())}
_FIELDS: list[pa.Field[Any]] = [
    pa.field("row", pa.int64()),
    pa.field("group", pa.string()),
    pa.field("prompt", pa.string()),
    pa.field("prompt_ids", pa.list_(pa.int32())),
    *(pa.field(f"{side}_{part}", kind) for part, kind in _OF_SIDES.items() for side in SIDES),
]
_SCHEMA = pa.schema(_FIELDS)


def annotated_pairs(annotated: Path) -> Iterator[Pair]:
    """The pairs of an annotated directory, in the input's order."""
    layout = None
    for path in sorted((annotated / "data").glob("*.parquet")):
        table = pq.read_table(path)
        own = [name for name in table.column_names if not _is_ours(name)]
        texts = table.select(own)
        layout = layout or detect(texts.schema, texts.slice(0, 100).to_pylist())
        for record, source in zip(table.to_pylist(), texts.to_pylist(), strict=True):
            row = normalise(record["asr_row"], source, layout, record.get("asr_pair"))
            said = [{"role": "user", "content": row.prompt}] if isinstance(row.prompt, str) else row.prompt
            prompt = [dict(message) for message in said]
            yield Pair(
                row=row.index,
                group=group_of(prompt),
                prompt=prompt,
                prompt_ids=record["prompt_ids"],
                text={c.side: response_text(c.content) for c in row.completions},
                ids={side: record[f"{side}_ids"] for side in SIDES},
                mask={side: record[f"{side}_mask"] for side in SIDES},
            )


def _is_ours(name: str) -> bool:
    parts = ("ids", "mask", "token_reward", "seg_start", "seg_text_start", "seg_reward", "seg_keep", "reward", "weight")
    return name.startswith("asr_") or name == "prompt_ids" or name in {f"{s}_{p}" for s in SIDES for p in parts}


def _record(pair: Pair) -> dict[str, Any]:
    sides: dict[str, Mapping[str, Any]] = {"text": pair.text, "ids": pair.ids, "mask": pair.mask}
    record = {f"{side}_{part}": values[side] for part, values in sides.items() for side in SIDES}
    return {
        "row": pair.row,
        "group": pair.group,
        "prompt": json.dumps(pair.prompt),
        "prompt_ids": pair.prompt_ids,
        **record,
    }


def unique_prompts(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """The first pair of each prompt."""
    return list({tuple(pair.prompt_ids): pair for pair in reversed(pairs)}.values())[::-1][:limit]
