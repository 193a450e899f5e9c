"""The rows of an annotated directory that have gold labels, over policy tokens, in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from asr_data.errors import ConfigError, CorruptFileError, InputError, RowRejected
from asr_data.evaluation.gold import Gold, Labels, find_gold
from asr_data.evaluation.sweep import Labelled
from asr_data.masks import MaskedBatch
from asr_data.pipeline.aligned_rows import AlignedRecord, aligned_table, byte_rewards, response_scalars, token_batch
from asr_data.pipeline.aligning import aligned_side
from asr_data.pipeline.policy_tokenizer import recorded_tokenizer
from asr_data.ragged import interleaved, offsets_of
from asr_data.response import stored_rewards
from asr_data.rows import Layout, normalise, records_of
from asr_data.rows.columns import column_type, column_value
from asr_data.scoring.diff import word_rewards
from asr_data.scoring.labels import spans_to_rewards
from asr_data.storage.reader import AnnotatedDirectory
from asr_data.storage.row_keys import row_numbers
from asr_data.text import AlignedResponse, Tokenizer, align, project
from asr_data.text.shared_words import shared_words
from asr_data.types import Bool, ByteRewards, Float32, Int64, Row, Side

_STORED: Final = ("ids", "mask", "token_reward", "seg_start", "seg_reward", "seg_keep", "reward")


@dataclass(frozen=True, slots=True)
class GoldOptions:
    """What is gold, and how it is counted.

    Attributes:
        gold: a column of labels, ``SIDE=COLUMN,…``, ``format=NAME`` or an annotated directory; None for the labels
            that the input's layout knows.
        group: the column whose rows belong together in the bootstrap; None for the prompt.
        threshold: a token is faulty where its gold label is below.
        tolerance: how many tokens a segment may start off a gold boundary.
        resamples, seed: of the bootstrap.
        side: the responses that figures are of: all, or those of one verdict. Pairs are always both.
    """

    gold: str | None = None
    group: str | None = None
    threshold: float = 0.5
    tolerance: int = 2
    resamples: int = 2000
    seed: int = 0
    side: Literal["both", "chosen", "rejected"] = "both"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What was evaluated.

    Attributes:
        rows: annotated rows that were.
        without_gold: rows left out since they have no gold labels.
        unreadable: rows left out by the reason why their gold labels cannot be read.
        groups: prompts, or what ``group`` named.
        gold: what was gold; None where nothing was.
        labelled_tokens: tokens with a gold label.
        faulty_tokens: those of them that are faulty.
    """

    rows: int
    without_gold: int
    unreadable: Mapping[str, int]
    groups: int
    gold: str | None
    labelled_tokens: int
    faulty_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """Rows that are evaluated.

    Attributes:
        labelled: their tokens, rewards and gold labels; R responses.
        groups: the group of each response, ``[R]``.
        evaluated: counts of them.
        stored: the directory's own segments and masks; None where it has none.
    """

    labelled: Labelled
    groups: list[str]
    evaluated: Evaluated
    stored: MaskedBatch | None


def load_labelled(annotated: AnnotatedDirectory, tokenizer: Tokenizer | None, options: GoldOptions) -> LabelledRows:
    """The rows that have gold labels, or all rows where there is no gold.

    Raises:
        InputError: no such row, or the tokenizer makes other tokens than the directory has.
        ConfigError: gold, group or tokenizer is invalid.
    """
    layout = annotated.manifest.plan.layout
    if options.group is not None and column_type(annotated.schema(), options.group) is None:
        raise ConfigError(f"--group {options.group}: no such column")
    gold = find_gold(annotated, options.gold)
    tokenizer = tokenizer or recorded_tokenizer(annotated.manifest)
    batches = zip(annotated.data_batches(), annotated.score_batches(), strict=True)
    loaded = _read(batches, _Reader(annotated, layout, tokenizer, gold, options))
    annotated.check_unchanged()
    return loaded


def load_labelled_at(
    annotated: AnnotatedDirectory,
    positions: Sequence[int],
    tokenizer: Tokenizer,
    gold: Gold | None,
    options: GoldOptions = GoldOptions(),
) -> LabelledRows:
    """As :func:`load_labelled`, of the rows at some positions in ``data/`` alone, in ascending order.

    Args:
        annotated: the directory.
        positions: of the rows, from 0.
        tokenizer: the policy's.
        gold: the labels, of which rows without any are left out; None takes every row.
        options: how gold is counted; which it is, ``gold`` says.
    """
    batches = zip(annotated.rows_at(positions), annotated.rows_at(positions, "scores"), strict=True)
    return _read(batches, _Reader(annotated, annotated.manifest.plan.layout, tokenizer, gold, options))


def _read(batches: Iterable[tuple[pa.RecordBatch, pa.RecordBatch]], reader: _Reader) -> LabelledRows:
    for data, scores in batches:
        reader.read(data, scores)
    return reader.finish()


class _Reader:
    """Takes in one batch of rows after the other."""

    def __init__(
        self,
        annotated: AnnotatedDirectory,
        layout: Layout,
        tokenizer: Tokenizer,
        gold: Gold | None,
        options: GoldOptions,
    ) -> None:
        self._manifest, self._path = annotated.manifest, annotated.path
        self._layout, self._tokenizer, self._gold, self._options = layout, tokenizer, gold, options
        tokenizer.date = annotated.manifest.plan.template_date
        added = set(self._manifest.added_columns())
        self._input = [name for name in annotated.schema().names if name not in added]
        self._records: list[AlignedRecord] = []
        self._labels: list[Float32] = []
        self._shared: list[Float32] = []
        self._groups: list[str] = []
        self._stored: list[pa.RecordBatch] = []
        self._unreadable: Counter[str] = Counter()
        self._without_gold = 0

    def read(self, data: pa.RecordBatch, scores: pa.RecordBatch) -> None:
        """One batch of ``data/`` with the same rows of ``scores/``."""
        numbers = row_numbers(data, self._manifest.prefix)
        if numbers != row_numbers(scores):
            raise CorruptFileError(f"{self._path}: data/ and scores/ hold different rows near input row {numbers[:1]}")
        rewards = [byte_rewards(scores, side) for side in self._layout.sides]
        kept = []
        records = records_of(data.select(self._input))
        for position, ((index, pair), record) in enumerate(zip(numbers, records, strict=True)):
            row = normalise(index, record, self._layout, pair)
            labels = self._gold_of(row)
            if labels is not None:
                self._add(row, labels, [side[position] for side in rewards])
                kept.append(position)
        if kept and self._manifest.mask is not None:
            self._stored.append(self._own_columns(data.take(pa.array(kept, type=pa.int64()))))

    def _gold_of(self, row: Row) -> Mapping[Side, Labels] | None:
        """The labels of a row that is evaluated; None for one that is not."""
        if self._gold is None:
            return {}
        try:
            labels = self._gold.read(row)
        except RowRejected as error:
            self._unreadable[error.code] += 1
            return None
        self._without_gold += not labels
        return labels or None

    def _add(self, row: Row, labels: Mapping[Side, Labels], rewards: Sequence[ByteRewards]) -> None:
        form = self._manifest.scorer.form
        responses = align(row, self._tokenizer).responses
        sides = [
            aligned_side(response, stored_rewards(given, completion.content), form, preferred=completion.preferred)
            for response, given, completion in zip(responses, rewards, row.completions, strict=True)
        ]
        self._records.append(AlignedRecord(row.index, row.pair, [], sides, []))
        self._labels += [
            _gold_values(response, labels.get(completion.side, ()))
            for response, completion in zip(responses, row.completions, strict=True)
        ]
        self._shared += _shared_values(responses)
        column = self._options.group
        group = row.prompt if column is None else column_value(row.source, column)
        self._groups += [json.dumps(group, ensure_ascii=False, sort_keys=True, default=str)] * len(sides)

    def _own_columns(self, data: pa.RecordBatch) -> pa.RecordBatch:
        """The columns of segments and masks, without the prefix."""
        names = [f"{side}_{name}" for side in self._layout.sides for name in _STORED]
        columns: list[Any] = [data.column(f"{self._manifest.prefix}{name}") for name in names]
        return pa.RecordBatch.from_arrays(columns, names=names)

    def finish(self) -> LabelledRows:
        """All rows as flat arrays."""
        if not self._records:
            reasons = ", ".join(f"{code}: {count}" for code, count in sorted(self._unreadable.items()))
            raise InputError(
                f"{self._path}: no row to evaluate; {self._without_gold} without gold labels"
                + (f", {reasons}" if reasons else "")
            )
        sides = self._layout.sides
        table = aligned_table(self._records, sides, pairs=self._manifest.plan.several_pairs)
        (batch,) = table.combine_chunks().to_batches()
        tokens = token_batch(batch, sides)
        gold = np.concatenate(self._labels)
        known: Bool = ~np.isnan(gold) & tokens.written & ~tokens.end
        faulty: Bool = known & (np.nan_to_num(gold, nan=1.0) < self._options.threshold)
        evaluated = Evaluated(
            rows=len(self._records),
            without_gold=self._without_gold,
            unreadable=dict(sorted(self._unreadable.items())),
            groups=len(set(self._groups)),
            gold=None if self._gold is None else self._gold.description,
            labelled_tokens=int(known.sum()),
            faulty_tokens=int(faulty.sum()),
        )
        stored = self._own_masks(_of_sides(batch, sides, "ids")[0]) if self._stored else None
        return LabelledRows(
            Labelled(tokens, faulty, known, np.concatenate(self._shared)), self._groups, evaluated, stored
        )

    def _own_masks(self, ids: Any) -> MaskedBatch:
        sides = self._layout.sides

        def flat(name: str) -> Any:
            return np.concatenate([_of_sides(batch, sides, name)[0] for batch in self._stored])

        if not np.array_equal(flat("ids"), ids):
            raise InputError(
                f"{self._path}: tokenizer {self._tokenizer.name} makes other tokens than the directory has; name the "
                "one it was made with"
            )
        lengths = [np.diff(_of_sides(batch, sides, "seg_start")[1]) for batch in self._stored]
        reward = np.concatenate([response_scalars(batch, sides, "reward") for batch in self._stored]).astype(np.float32)
        return MaskedBatch(
            token_reward=flat("token_reward"),
            mask=flat("mask"),
            segment_offsets=offsets_of(np.concatenate(lengths)),
            segment_start=flat("seg_start"),
            segment_reward=flat("seg_reward"),
            segment_keep=flat("seg_keep"),
            reward=reward,
            empty=np.zeros(reward.size, dtype=np.bool_),
            unknown=np.isnan(reward),
        )


def _gold_values(response: AlignedResponse, labels: Labels) -> Float32:
    """Gold over policy tokens: the mean label of a token's bytes, NaN where no label covers any."""
    spans = [(label.start, label.end, label.reward) for label in labels]
    size = len(response.text.encode())
    rewards = spans_to_rewards(spans, size, np.zeros(0, dtype=np.int32))
    return project(rewards, response.start, response.end, "value")


def _shared_values(responses: Sequence[AlignedResponse]) -> list[Float32]:
    """For each response of a row, whether the other answer has its tokens' words; NaN where there is none."""
    if len(responses) != 2:
        return [np.full(len(response.start), np.nan, dtype=np.float32) for response in responses]
    words = shared_words(responses[0].text, responses[1].text)
    rewards = [word_rewards(response.text, own) for response, own in zip(responses, words, strict=True)]
    return [
        project(own, response.start, response.end, "value") for response, own in zip(responses, rewards, strict=True)
    ]


def _of_sides(batch: pa.RecordBatch, sides: Sequence[Side], name: str) -> tuple[Any, Int64]:
    """The list column ``S_name`` of all sides, flat, in the response order of :func:`token_batch`; and its offsets."""
    return interleaved([batch.column(f"{side}_{name}") for side in sides])
