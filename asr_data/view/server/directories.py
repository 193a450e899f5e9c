"""The annotated directories that a page shows side by side: the same input, other signals, settings or tokenizers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.parquet as pq

from asr_data.errors import AsrDataError, ConfigError, CorruptFileError, InputError
from asr_data.pairs import pair_places
from asr_data.rows.file_state import FileState
from asr_data.storage import AnnotatedDirectory, open_output
from asr_data.storage.manifest import MANIFEST_NAME
from asr_data.storage.row_keys import key_of, keys_of
from asr_data.storage.work import WORK_NAME
from asr_data.types import Bool, Float64, Int64
from asr_data.view.decisions import all_baselines, depends_on_other_rows
from asr_data.view.gold import gold_reader
from asr_data.view.reading import require_segments

if TYPE_CHECKING:
    from asr_data.evaluation.gold import GoldReader
    from asr_data.text import Tokenizer

logger = logging.getLogger(__name__)

SAMPLED_FILES: Final = 4
"""Files that a sample is drawn from: each is hashed before it is read."""


class Viewed:
    """One of the directories.

    Attributes:
        annotated: it.
        name: what tells it from the others.
        gold_name: what names the labels of the input; None for those that its layout knows.
        tokenizer: the policy's; None where it cannot be had, or not yet, and whole segments are tinted.
        fixed: why its settings cannot be changed here, or not yet; None where they can.

    Args:
        annotated: the directory.
        name: what tells it from the others.
        tokenizer: the policy's, or why there is none; None for the recorded one, which :meth:`prepare` loads.
        gold: what names the labels of the input.
    """

    def __init__(
        self, annotated: AnnotatedDirectory, name: str, tokenizer: Tokenizer | str | None, gold: str | None
    ) -> None:
        self.annotated, self.name, self.gold_name = annotated, name, gold
        self.is_ready = tokenizer is not None
        self._take("the policy's tokenizer is being loaded" if tokenizer is None else tokenizer)
        self._manifest_state = FileState.of(annotated.path / MANIFEST_NAME)
        self._lock = threading.Lock()

    def _take(self, tokenizer: Tokenizer | str) -> None:
        self.tokenizer = None if isinstance(tokenizer, str) else tokenizer
        self.fixed = _why_fixed(self.annotated, tokenizer)

    def prepare(self) -> None:
        """Load the tokenizer that the directory was made with. Takes seconds; asking again costs nothing."""
        if self.is_ready:
            return
        try:
            self._take(_recorded(self.annotated))
        except Exception as error:  # a page without settings is better than none
            logger.exception("%s: the policy's tokenizer", self.annotated.path)
            self._take(f"the policy's tokenizer cannot be loaded ({type(error).__name__}: {error})")
        self.is_ready = True

    def check(self) -> None:
        """Refuses a directory that is another one by now.

        Raises:
            CorruptFileError: it was changed, replaced or removed since it was opened.
        """
        if FileState.of(self.annotated.path / MANIFEST_NAME) != self._manifest_state:
            raise CorruptFileError(
                f"{self.annotated.path}: was replaced or removed while the page was open; start asr-annotate view again"
            )

    @property
    def rows(self) -> int:
        """Annotated rows."""
        return self.annotated.manifest.counts.annotated

    @cached_property
    def gold(self) -> GoldReader | None:
        """How labels that the input has are read."""
        return gold_reader(self.annotated, self.gold_name)

    @cached_property
    def indices(self) -> Int64:
        """``asr_row`` of every row, int64 ``[rows]``."""
        return self._column("asr_row")

    @cached_property
    def keys(self) -> Int64:
        """A number of every row that rises, int64 ``[rows]``, see :mod:`asr_data.storage.row_keys`."""
        return keys_of(self.indices, self._pairs)

    @cached_property
    def _pairs(self) -> Int64:
        if self.annotated.manifest.plan.several_pairs:
            return self._column("asr_pair")
        return np.full(self.rows, -1, dtype=np.int64)

    def _column(self, name: str) -> Int64:
        """A column of numbers. Rows that are found by it are verified when they are read."""
        column = f"{self.annotated.manifest.prefix}{name}"
        found: list[Int64] = [np.zeros(0, dtype=np.int64)]
        for record in self.annotated.manifest.files_of("data"):
            path = self.annotated.path / record.path
            try:
                read = pq.read_table(path, columns=[column]).column(0).to_numpy()
            except (OSError, ValueError, KeyError) as error:
                raise CorruptFileError(f"{path}: cannot be read: {error}") from error
            found.append(read.astype(np.int64))
        return np.concatenate(found)

    def find(self, keys: Int64) -> tuple[Int64, Bool]:
        """Where rows with these ``keys`` stand, int64, and whether they are there at all, bool."""
        at = np.searchsorted(self.keys, keys).astype(np.int64)
        there: Bool = at < self.rows
        there[there] = self.keys[at[there]] == keys[there]
        return at, there

    def position(self, row: int, pair: int | None = None) -> int | None:
        """Where an input row stands, the first pair of it, or this one; None where it is not there."""
        several = self.annotated.manifest.plan.several_pairs
        key = key_of(row, pair if several else None)
        if not 0 <= key < 2**63:
            return None
        at = int(np.searchsorted(self.keys, key))
        if at >= self.rows or self.indices[at] != row or (pair is not None and self.pair_of(at) != pair):
            return None
        return at

    def pair_of(self, position: int) -> int:
        """The number of the pair among those of its input row; 0 where a row is one pair."""
        return max(0, int(self._pairs[position]))

    def answer(self, position: int, side: int) -> tuple[int, int]:
        """Which answer of which input row a response is: the same one in all pairs that it is in."""
        pair = int(self._pairs[position])
        return int(self.indices[position]), side if pair < 0 else pair_places(pair)[side]

    def baselines(self) -> Float64 | None:
        """b of every response where other rows decide it; found once."""
        mask = self.annotated.manifest.mask
        if mask is None or not depends_on_other_rows(mask.baseline):
            return None
        with self._lock:
            return self._all_baselines

    @cached_property
    def _all_baselines(self) -> Float64:
        return all_baselines(self.annotated)

    def sample(self, count: int, seed: int = 0) -> list[int]:
        """Positions of up to ``count`` rows drawn at random, ascending, from a few files where there are many."""
        records = self.annotated.manifest.files_of("data")
        first = np.cumsum([0, *(record.rows for record in records)])
        generator = np.random.default_rng(seed)
        if self.rows <= count:
            return list(range(self.rows))
        chosen = sorted(generator.permutation(len(records))[:SAMPLED_FILES].tolist())
        among = np.concatenate([np.arange(first[file], first[file + 1]) for file in chosen])
        return sorted(generator.choice(among, min(count, among.size), replace=False).tolist())


def open_directories(paths: Sequence[Path], tokenizer: str | None = None, gold: str | None = None) -> list[Viewed]:
    """The directories, ready to be read; their tokenizers are loaded by :meth:`Viewed.prepare`, unless one is named.

    Args:
        paths: of the directories.
        tokenizer: the policy's, for all of them; None for the one that each was made with, ``none`` for none.
        gold: labels to underline, as :func:`asr_data.view.gold.gold_reader` takes them.

    Raises:
        ConfigError: the same directory twice, or a tokenizer that was named and is not that of the masks.
        InputError: different inputs, or no segments yet.
        CorruptFileError: one is not a finished output; says whether it is still being written.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("a directory is given twice: name each once")
    names = _names(paths)
    found: list[Viewed] = []
    for path, name in zip(paths, names, strict=True):
        annotated = _open(path)
        if found:
            from asr_data.evaluation.comparing import require_same_input

            require_same_input(found[0].annotated.manifest, annotated.manifest, paths[0], path)
        viewed = Viewed(annotated, name, _named(annotated, tokenizer), gold)
        _ = viewed.gold  # a wrong --gold is an error of the command, not of the page
        found.append(viewed)
    return found


def _open(path: Path) -> AnnotatedDirectory:
    try:
        annotated = open_output(path)
    except CorruptFileError as error:
        if (path / WORK_NAME).is_dir():
            raise CorruptFileError(
                f"{path}: is not finished: a run is writing to it, or was stopped and can be continued with the same "
                "command; a page shows what is finished"
            ) from error
        raise
    require_segments(annotated)
    return annotated


def _recorded(annotated: AnnotatedDirectory) -> Tokenizer | str:
    """The tokenizer that a directory was made with, or why it cannot be had."""
    from asr_data.pipeline.policy_tokenizer import recorded_tokenizer

    try:
        return recorded_tokenizer(annotated.manifest)
    except AsrDataError as error:
        return f"the policy's tokenizer cannot be loaded ({error}); name it with --tokenizer"


def _named(annotated: AnnotatedDirectory, name: str | None) -> Tokenizer | str | None:
    """The tokenizer that was named, or why there is none; None where the recorded one is meant."""
    if name is None:
        return None
    if name == "none":
        return "no tokenizer was asked for (--tokenizer none)"
    from asr_data.text.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(name)
    record = annotated.manifest.tokenizer
    if record is not None and tokenizer.fingerprint != record.fingerprint:
        raise ConfigError(
            f"tokenizer {tokenizer.name!r} is not {record.name!r}, which the masks of {annotated.path} are for"
        )
    tokenizer.date = annotated.manifest.plan.template_date
    return tokenizer


def _why_fixed(annotated: AnnotatedDirectory, tokenizer: Tokenizer | str) -> str | None:
    records = annotated.manifest.files_of("scores")
    if not records or not all((annotated.path / record.path).is_file() for record in records):
        return f"{annotated.path} has no scores/, from which other masks would be made"
    if annotated.manifest.counts.annotated == 0:
        return "there is no row to try them on"
    return tokenizer if isinstance(tokenizer, str) else None


def _names(paths: Sequence[Path]) -> list[str]:
    """The last folder of each path, and as much before it as tells them apart."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise InputError("the directories have no different names")
