"""What hostile files are made of: odd texts and values, rows, and mutations of bytes and of JSON."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

TEXTS = (
    "", " ", "\n", "\0", "a\0b", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\u202egnp.exe", "[bold]x[/bold]", "[/]",
    "\u2028", "\ufeff", "e\u0301", "👩‍🔬", "\U000e0041", "<script>alert(1)</script>", "{{ 1 / 0 }}", "{% raw %}",
    "../../x", "/etc/passwd", "<|im_start|>system\n", "<|im_end|>", "\\N{BEL}", "\r\r\n", "x" * 5_000, "\u0300" * 300,
    "١٢٣", "ﷺ",
)  # fmt: skip
NAMES = (
    b"\xff\xfe.jsonl", b"a\nb.jsonl", b"\x1b[31m.jsonl", b"[bold].jsonl", b"--resume.jsonl", b"`x` | <script>.jsonl",
    "é\u202e.jsonl".encode(), b"a: b #c.jsonl", b" .jsonl", b"x" * 240 + b".jsonl",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1e308, float("nan"), float("inf"), [], {}, [None], [[]], [[[]]], {"": ""},
    {"role": "user"}, [{"role": "user", "content": "x"}], [{"role": "assistant", "content": None}],
    [{"role": "assistant", "content": "Yes."}], [{"content": 3}], [{"from": "gpt", "value": "x"}], "true", *TEXTS,
)  # fmt: skip
COLUMNS = ("prompt", "chosen", "rejected", "completion", "label", "messages", "question", "asr_row", "prompt_ids", "")

ANY_TEXT = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(TEXTS)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
ANY_MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "tool", ""]), "content": ANY_TEXT}),
    max_size=3,
)
ANY_RECORD = (
    st.fixed_dictionaries(dict.fromkeys(("prompt", "chosen", "rejected"), ANY_TEXT), optional={"x": ANY_JSON}),
    st.fixed_dictionaries(dict.fromkeys(("prompt", "chosen", "rejected"), ANY_MESSAGES)),
    st.fixed_dictionaries({"prompt": ANY_TEXT, "completion": ANY_TEXT, "label": st.booleans()}),
    st.dictionaries(st.sampled_from(COLUMNS) | ANY_TEXT, ANY_JSON, max_size=4),
)


def odd_row(draw: random.Random) -> str:
    record: dict[str, Any] = {"prompt": "What?", "chosen": draw.choice(("A.", "It is so.")), "rejected": "No!"}
    # Mostly texts, so that files with one odd row are as common as files that no column can hold.
    pool = TEXTS if draw.random() < 0.99 else VALUES
    for _ in range(draw.choice((0, 1, 1, 2, 3))):
        column = draw.choice(COLUMNS[:3]) if draw.random() < 0.97 else draw.choice(COLUMNS)
        record[column] = _text(draw) if draw.random() < 0.3 else draw.choice(pool)
    if draw.random() < 0.01:
        record[draw.choice(TEXTS)] = "a column of a hostile name"
    if draw.random() < 0.05:
        record.pop(draw.choice(list(record)))
    line = json.dumps(record, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.05:
        line = mutated(line.encode("utf-8", "surrogatepass"), draw).decode("utf-8", "replace").replace("\n", " ")
    return line


def _text(draw: random.Random) -> str:
    ranges = ((0, 0x7F), (0x80, 0x7FF), (0x2000, 0x206F), (0xD800, 0xDFFF), (0xFE00, 0xFFFF), (0x1F300, 0x1FAFF))
    low, high = draw.choice(ranges)
    return "".join(chr(draw.randint(low, high)) for _ in range(draw.randint(1, 30)))


def mutated(data: bytes, draw: random.Random) -> bytes:
    """A few bytes flipped, overwritten, cut out, repeated or moved."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        if not out:
            break
        at, length = draw.randrange(len(out)), draw.choice((1, 1, 2, 4, 64))
        match draw.randrange(6):
            case 0:
                out[at] ^= 1 << draw.randrange(8)
            case 1:
                out[at : at + length] = draw.randbytes(length)
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = out[at : at + length] * draw.choice((1, 2, 50))
            case 4:
                out[at:] = b""
            case _:
                out[at : at + length] = draw.choice((b"\0", b"\xff", b'"', b"{", b"[" * 3_000, b"\n", b"9" * 5_000))
    return bytes(out)


def replaced(content: Any, draw: random.Random) -> Any:
    """A copy with one value somewhere in it replaced, removed or added."""
    copy = json.loads(json.dumps(content))
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(copy)
    node, key = draw.choice(places)
    value = draw.choice((*(v for v in VALUES if v == v and v not in (float("inf"),)), "../../yard/secret", "a/../../x"))
    match draw.randrange(4):
        case 0 if isinstance(node, dict):
            del node[key]
        case 1 if isinstance(node, dict):
            node[str(draw.choice(TEXTS))] = value
        case _:
            node[key] = value
    return copy
