"""A tokenizer that can say which bytes of a text each of its tokens stands for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asr_data.errors import ConfigError, RowRejected
from asr_data.response import byte_offsets
from asr_data.text.gguf import builtin_tokenizer
from asr_data.types import Int64


@dataclass(frozen=True, slots=True)
class Encoding:
    """Tokens of a text and the bytes that each covers.

    Attributes:
        ids: token ids.
        start: int64 ``[tokens]``, first byte of the text covered by the token.
        end: int64 ``[tokens]``, one past the last byte. Tokens that stand for no text (BOS) are empty.
    """

    ids: list[int]
    start: Int64
    end: Int64


class Tokenizer:
    """A transformers fast tokenizer, with byte spans.

    Byte-level vocabularies are read token by token, so that a character split over several tokens is split
    in the spans too. Others use the library's character offsets.

    Attributes:
        hf: the transformers tokenizer.
        name: what it is called.
        date: what ``strftime_now`` tells its chat template; None: today. See :mod:`asr_data.text.clock`.

    Raises:
        ConfigError: for a tokenizer without the fast backend, which reports no offsets.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(f"tokenizer {name!r} has no fast backend; only fast tokenizers report offsets")
        self.hf = tokenizer
        self.name = name
        self.date: date | None = None
        self._backend = json.loads(tokenizer.backend_tokenizer.to_str())

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all that decides ids and which of them end a turn.

        Vocabulary, merges, normaliser, pre-tokeniser, post-processor and added tokens, as the backend has them;
        special tokens, chat template and ``split_special_tokens``; and the ids of a few texts, for settings that
        act in none of these. Truncation and padding are left out: they are set anew by every call.
        """
        backend = {key: value for key, value in self._backend.items() if key not in ("truncation", "padding")}
        parts = [
            backend,
            self.hf.chat_template,
            self.hf.eos_token,
            self.hf.bos_token,
            bool(getattr(self.hf, "split_special_tokens", False)),
            sorted(self.special_ids),
            [self.ids(text, add_special_tokens=added) for text in self._probes() for added in (True, False)],
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _probes(self) -> list[str]:
        specials = [str(self.hf.convert_ids_to_tokens(i)) for i in sorted(self.special_ids)[:64]]
        return ["", " A  b\n\nCafé e\u0301 ½ \u4e8c 3.14", *specials, "x".join(specials)]

    @cached_property
    def _added(self) -> dict[int, bytes]:
        return {int(i): token.content.encode() for i, token in self.hf.added_tokens_decoder.items()}

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of tokens marked special."""
        added = self.hf.added_tokens_decoder.items()
        return frozenset(int(i) for i, token in added if token.special) | frozenset(self.hf.all_special_ids)

    @cached_property
    def special_texts(self) -> re.Pattern[str]:
        """Matches the text of any special token."""
        texts = sorted((str(self.hf.convert_ids_to_tokens(i)) for i in self.special_ids), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)) or "(?!)")

    @cached_property
    def _token_bytes(self) -> list[bytes] | None:
        """The bytes of every token, or None where the vocabulary is not byte-level.

        A normaliser does no harm here: where it changes a text, the tokens' bytes are not the text's.
        """
        if not _mentions(self._backend.get("pre_tokenizer"), "ByteLevel"):
            return None
        to_byte = _byte_of_character()
        table: list[bytes] = []
        for i, token in enumerate(self.hf.convert_ids_to_tokens(range(len(self.hf)))):
            if i in self._added:
                table.append(self._added[i])
            else:
                table.append(bytes(to_byte[c] for c in token) if token and set(token) <= to_byte.keys() else b"")
        return table

    def ids(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids alone, of any text; what a normaliser makes of it does not matter."""
        encoded = self.hf(text, add_special_tokens=add_special_tokens, return_attention_mask=False, verbose=False)
        ids: list[int] = encoded["input_ids"]
        return ids

    def encode(
        self, text: str, *, add_special_tokens: bool, within: Sequence[tuple[int, int]] | None = None
    ) -> Encoding:
        """Tokenise ``text``; every byte of it is covered, in order, exactly once.

        Args:
            text: what to tokenise.
            add_special_tokens: put the tokenizer's own around it.
            within: ascending stretches of code points whose bytes matter; default the whole text. Outside of them a
                normaliser may change the text, and tokens have some bytes thereabouts.

        Raises:
            RowRejected: ``tokenizer_alters_text`` where a normaliser changes the text or a character is unknown,
                ``tokens_uncovered`` where something other than white space has no token.
        """
        encoded = self.hf(
            text,
            add_special_tokens=add_special_tokens,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            verbose=False,
        )
        ids: list[int] = encoded["input_ids"]
        inserted = (
            np.array(encoded["special_tokens_mask"], dtype=bool)
            if add_special_tokens
            else np.zeros(len(ids), dtype=bool)
        )
        exact = self._exact_spans(text, ids, inserted)
        if exact is not None:
            return Encoding(ids, *exact)
        offsets = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
        wanted = [(0, len(text))] if within is None else [span for span in within if span[0] < span[1]]
        for first, last in wanted:
            self._check_normaliser(text[first:last])
        self._check_known(text, ids, offsets, inserted, wanted)
        start, end = _spans_from_offsets(text, offsets, inserted, wanted)
        for first, last in wanted if within is not None else ():
            self._refine(text, ids, offsets, start, end, (first, last))
        return Encoding(ids, start, end)

    def _exact_spans(self, text: str, ids: list[int], inserted: Any) -> tuple[Int64, Int64] | None:
        table = self._token_bytes
        if table is None:
            return None
        pieces = [b"" if skip else table[i] for i, skip in zip(ids, inserted, strict=True)]
        if b"".join(pieces) != text.encode():
            return None
        end = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        return np.concatenate([np.zeros(min(1, len(end)), dtype=np.int64), end[:-1]]), end

    def _refine(
        self, text: str, ids: list[int], offsets: Int64, start: Int64, end: Int64, within: tuple[int, int]
    ) -> None:
        """Put the bytes of a byte-level vocabulary's own tokens in place of those guessed from characters."""
        table = self._token_bytes
        if table is None:
            return
        inside = np.flatnonzero((offsets[:, 0] < within[1]) & (offsets[:, 1] > within[0]))
        if not len(inside):
            return
        first, last = int(inside[0]), int(inside[-1]) + 1
        here = slice(int(offsets[first:last, 0].min()), int(offsets[first:last, 1].max()))
        pieces = [table[i] for i in ids[first:last]]
        if b"".join(pieces) != text[here].encode():
            return
        ends = len(text[: here.start].encode()) + np.cumsum([len(piece) for piece in pieces])
        end[first:last] = ends
        start[first:last] = ends - [len(piece) for piece in pieces]

    def _check_normaliser(self, text: str) -> None:
        if "▁" in text and _mentions(self._backend.get("pre_tokenizer"), "Metaspace"):
            raise RowRejected("tokenizer_alters_text", f"tokenizer {self.name!r} takes the character '▁' for a space")
        normalizer = self.hf.backend_tokenizer.normalizer
        if normalizer is None:
            return
        normal = normalizer.normalize_str(text)
        if normal != text and normal.replace("▁", " ").strip() != text.strip():
            raise RowRejected(
                "tokenizer_alters_text",
                f"the normaliser of tokenizer {self.name!r} changes this text, so its tokens stand for other text",
            )

    def _check_known(
        self, text: str, ids: list[int], offsets: Int64, inserted: Any, within: Sequence[tuple[int, int]]
    ) -> None:
        unknown = (np.array(ids, dtype=np.int64) == self._unknown_id) & ~inserted
        for first, last in offsets[unknown]:
            needed = any(first < end and last > start for start, end in within)
            if needed and text[first:last] != self.hf.convert_ids_to_tokens(self._unknown_id):
                raise RowRejected(
                    "tokenizer_alters_text", f"tokenizer {self.name!r} has no token for {text[first:last]!r}"
                )

    @cached_property
    def _unknown_id(self) -> int:
        """The id that the vocabulary gives to what it does not know, or -1; the tokenizer's settings may not say."""
        model = self._backend["model"]
        token = model.get("unk_token")
        found = model.get("unk_id") if token is None else self.hf.convert_tokens_to_ids(token)
        return -1 if found is None else int(found)


def load_tokenizer(
    location: str | Path,
    *,
    revision: str | None = None,
    gguf_file: str | None = None,
    name: str | None = None,
    hub: bool = True,
) -> Tokenizer:
    """Load a tokenizer from a local directory or a Hub id; never runs remote code.

    Args:
        location: the directory or Hub id, or ``builtin`` for the built-in model's.
        revision: of a hub id.
        gguf_file: a file of the directory that holds the tokenizer.
        name: what to call it; default ``location``.
        hub: False: the location was not typed by the user, but stands in a file. Then the Hub is not asked, and only a
            copy that was fetched before is used.

    Raises:
        ConfigError: if it cannot be loaded or has no fast backend.
    """
    from transformers import AutoTokenizer

    if str(location) == "builtin":
        return Tokenizer(builtin_tokenizer(), name or "builtin")
    asked = hub and not Path(location).is_dir()
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": not asked}
    if revision is not None:
        options["revision"] = revision
    if gguf_file is not None:
        options["gguf_file"] = gguf_file
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(location), **options)
        return Tokenizer(tokenizer, name or str(location))
    except ConfigError:
        raise
    except Exception as error:  # what its files say is data: any of transformers' and tokenizers' code may fail on it
        if not hub and not Path(location).is_dir():
            raise ConfigError(
                f"tokenizer {str(location)!r} is named by a file; the Hub is asked only for what you name: "
                "give it as --tokenizer"
            ) from error
        said = next(iter(str(error).strip().splitlines()), "no reason given")
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        raise ConfigError(
            f"cannot load a tokenizer from {str(location)!r}: {kind}{said}; a fast tokenizer needs the files "
            "tokenizer.json and tokenizer_config.json, complete and as transformers writes them"
        ) from error


def _mentions(node: Any, kind: str) -> bool:
    if isinstance(node, dict):
        return node.get("type") == kind or any(_mentions(value, kind) for value in node.values())
    return isinstance(node, list) and any(_mentions(value, kind) for value in node)


def _byte_of_character() -> dict[str, int]:
    """The byte behind each printable stand-in of a byte-level vocabulary (GPT-2's table)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [b for b in range(256) if b not in set(printable)]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def _spans_from_offsets(
    text: str, offsets: Int64, inserted: Any, within: Sequence[tuple[int, int]]
) -> tuple[Int64, Int64]:
    """Byte spans from character offsets: gaps of white space go to the token after them, and tokens that share
    a character share its bytes in order. Only gaps that reach into ``within`` may hold nothing but white space.
    """
    byte_at = byte_offsets(text)
    start, end = np.zeros(len(offsets), dtype=np.int64), np.zeros(len(offsets), dtype=np.int64)
    reached = 0  # code points covered so far
    i = 0
    while i < len(offsets):
        first, last = (int(x) for x in offsets[i])
        if inserted[i] or (last <= reached and (i == 0 or first == last)):
            start[i] = end[i] = byte_at[reached]
            i += 1
            continue
        together = i + 1
        while together < len(offsets) and not inserted[together] and offsets[together, 0] < last:
            last = max(last, int(offsets[together, 1]))
            together += 1
        first = max(first, reached)
        _check_gap(text, reached, first, within)
        cuts = np.linspace(byte_at[first], byte_at[last], together - i + 1).round().astype(np.int64)
        cuts[0] = byte_at[reached]
        start[i:together], end[i:together] = cuts[:-1], cuts[1:]
        reached, i = last, together
    _check_gap(text, reached, len(text), within)
    _give_tail(end, start, int(byte_at[-1]))
    return start, end


def _check_gap(text: str, start: int, end: int, within: Sequence[tuple[int, int]]) -> None:
    for first, last in within if text[start:end].strip() else ():
        if (gap := text[max(first, start) : min(last, end)]).strip():
            raise RowRejected("tokens_uncovered", f"no token covers {gap!r} at character {max(first, start)}")


def _give_tail(end: Int64, start: Int64, length: int) -> None:
    """White space at the end of the text goes to the last token that covers any."""
    covering = np.flatnonzero(end > start)
    if len(covering) and end[covering[-1]] < length:
        last = covering[-1]
        end[last] = length
        start[last + 1 :] = end[last + 1 :] = length
