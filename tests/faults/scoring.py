"""Point 5: scorers that answer wrongly, raise, or run out of memory; one row, then many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from asr_data.config import MaskConfig, OutputConfig
from asr_data.pipeline import run
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.protocol import Scored, ScorerInfo
from asr_data.storage import validate
from asr_data.text import Tokenizer, load_tokenizer, response_text
from asr_data.types import ByteRewards, RejectedRow, Row
from tests.faults.lab import Outcome, save_tokenizer, timed, write_pairs
from tests.faults.rules import by_word

SETTINGS = MaskConfig.model_validate({"baseline": {"kind": "sequence"}, "segmenter": {"kind": "pivot", "tau": 0.5}})
NOTHING = np.zeros(0, dtype=np.int32)


def rewards_of(text: str) -> ByteRewards:
    """Rewards by :func:`tests.faults.rules.by_word`, over bytes."""
    spans = by_word("", text)
    ends = [len(text[:end].encode()) for _, end, _ in spans]
    ends[-1] = len(text.encode())
    return ByteRewards(np.array(ends, np.int32), np.array([r for *_, r in spans], np.float32), NOTHING, None)


def _changed(rewards: ByteRewards, **changes: Any) -> ByteRewards:
    fields = {name: getattr(rewards, name) for name in ("span_end", "span_reward", "step_end", "reward")}
    return ByteRewards(**{**fields, **changes})


def _first_value(value: float) -> Callable[[ByteRewards], ByteRewards]:
    return lambda rewards: _changed(rewards, span_reward=np.append(np.float32(value), rewards.span_reward[1:]))


ANSWERS: dict[str, tuple[Callable[[ByteRewards], ByteRewards], str]] = {
    "NaN": (_first_value(float("nan")), "non_finite_reward"),
    "+inf": (_first_value(float("inf")), "non_finite_reward"),
    "-inf": (_first_value(float("-inf")), "non_finite_reward"),
    "sequence reward NaN": (lambda r: _changed(r, reward=float("nan")), "non_finite_reward"),
    "beyond bfloat16": (_first_value(3.4028e38), "non_finite_reward"),
    "a reward too few": (lambda r: _changed(r, span_reward=r.span_reward[:-1]), "wrong_reward_length"),
    "a reward too many": (lambda r: _changed(r, span_reward=np.append(r.span_reward, 0)), "wrong_reward_length"),
    "a byte too few": (lambda r: _changed(r, span_end=r.span_end - 1), "wrong_reward_length"),
    "a byte too many": (lambda r: _changed(r, span_end=r.span_end + 1), "wrong_reward_length"),
    "nothing": (lambda r: _changed(r, span_end=NOTHING, span_reward=np.zeros(0, np.float32)), "wrong_reward_length"),
}
"""What is done to the rewards of a response, and the code that its row must be rejected with."""


class Faulty:
    """A scorer with a fault in the rows ``at``, or in what is longer than ``memory`` characters together."""

    def __init__(
        self, at: Sequence[int] = (), fault: Callable[[Row], Scored] | None = None, memory: int | None = None
    ) -> None:
        self.info = ScorerInfo("faulty", "rule", "value", "f" * 64)
        self.tokenizer = None
        self._at, self._fault, self._memory = set(at), fault, memory

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:
        size = sum(len(response_text(completion.content)) for row in rows for completion in row.completions)
        if self._memory is not None and size > self._memory:
            raise MemoryError(f"{size} characters")
        return [self._fault(row) if self._fault and row.index in self._at else _sound(row) for row in rows]


def _sound(row: Row) -> tuple[ByteRewards, ...]:
    return tuple(rewards_of(response_text(completion.content)) for completion in row.completions)


def faulty_scorers(folder: Path, rows: int = 9) -> Outcome:
    """Each wrong answer in each row; rows that raise, alone and together; memory for a number of characters."""
    outcome = Outcome("faulty scorers")
    with timed(outcome):
        bench = Bench(folder, rows)
        for at in bench.sound:
            for name, (change, code) in ANSWERS.items():
                fault = lambda row, change=change: (change(_sound(row)[0]), *_sound(row)[1:])  # noqa: E731
                bench.expect(Faulty([at], fault), {at: code}, f"row {at}: {name}", outcome)
                outcome.count(name)
            bench.expect(Faulty([at], _raising), {at: "scorer_error"}, f"row {at} raises", outcome)
            bench.expect(Faulty([at], lambda row: ()), {at: "wrong_reward_length"}, f"row {at}: no rewards", outcome)
            refused = RejectedRow(at, "too_long", "by the scorer")
            bench.expect(Faulty([at], lambda _, r=refused: r), {at: "too_long"}, f"row {at}: refused", outcome)  # type: ignore[misc]
            for kind in ("raises", "no rewards", "refused"):
                outcome.count(kind)
        for step in range(2, 5):
            wrong = bench.sound[::step]
            bench.expect(Faulty(wrong, _raising), dict.fromkeys(wrong, "scorer_error"), f"rows {wrong} raise", outcome)
            outcome.count("several rows raise")
        for memory in sorted(bench.sizes.values()):
            wrong = [index for index, size in bench.sizes.items() if size > memory]
            place = f"memory for {memory} characters"
            bench.expect(Faulty(memory=memory), dict.fromkeys(wrong, "out_of_memory"), place, outcome)
            outcome.count("out of memory")
    return outcome


def _raising(row: Row) -> Scored:
    raise KeyError(f"row {row.index}")


class Bench:
    """Runs with a faulty scorer beside an undisturbed one.

    Attributes:
        sound: rows that are annotated when the scorer is.
        sizes: characters of both responses of these rows.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder, self._runs = folder, 0
        write_pairs(folder / "in.jsonl", rows)
        save_tokenizer(folder / "tokenizer")
        self._tokenizer: Tokenizer = load_tokenizer(folder / "tokenizer")
        self._expected, self._rejected = self._run(Faulty())
        self.sound: list[int] = self._expected.column("asr_row").to_pylist()
        responses = zip(*(self._expected.column(side).to_pylist() for side in ("chosen", "rejected")), strict=True)
        self.sizes = {i: len(a) + len(b) for i, (a, b) in zip(self.sound, responses, strict=True)}

    def expect(self, scorer: Faulty, codes: dict[int, str], place: str, outcome: Outcome) -> None:
        """The rows in ``codes`` are rejected with these, and all others are as they were."""
        found, rejected = self._run(scorer)
        outcome.expect(rejected == self._rejected | codes, f"{place}: rejected {rejected}")
        keep = pa.array([index not in codes for index in self.sound])
        outcome.expect(found.equals(self._expected.filter(keep)), f"{place}: other rows changed")
        problems = validate(self._folder / f"out{self._runs}")
        outcome.expect(not problems, f"{place}: {problems[:1]}")

    def _run(self, scorer: Faulty) -> tuple[pa.Table, dict[int, str]]:
        self._runs += 1
        source = open_source(self._folder / "in.jsonl")
        layout = detect(source.schema, first_records(source))
        out = self._folder / f"out{self._runs}"
        writing = OutputConfig(shard_rows=4)
        run(source, layout, out, scorer, self._tokenizer, mask=SETTINGS, writing=writing)
        data = pa.concat_tables([pq.read_table(path) for path in sorted((out / "data").iterdir())])
        rejects = pq.read_table(out / "rejects" / "train.parquet")
        return data, dict(zip(*(rejects.column(name).to_pylist() for name in ("asr_row", "code")), strict=True))
