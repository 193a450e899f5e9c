"""Point 7: rows, files, settings and manifests made by an enemy or by a bad disk. Every call has a time limit."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st
from rich.console import Console

from asr_data.config import OutputConfig
from asr_data.errors import AsrDataError
from asr_data.pipeline import mask, run
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.config import read_config
from asr_data.storage import open_output, validate
from asr_data.storage.seal import sealed_json
from asr_data.text import Tokenizer, load_tokenizer
from asr_data.view.gold import gold_reader
from asr_data.view.model import row_views
from asr_data.view.reading import first_rows
from asr_data.view.terminal import show_rows
from asr_data_cli import settings
from tests.faults.lab import Outcome, save_tokenizer, timed, write_pairs
from tests.faults.scoring import Faulty

SECONDS = 10
"""Longest time for one file; none needs a tenth of it."""
ROWS = 20
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


class Hang(BaseException):
    """A call took longer than it may; no handler of errors sees this."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises :class:`Hang` in a block that takes longer."""

    def hang(*_: Any) -> None:
        raise Hang(f"{seconds} s are over")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Yard:
    """Where hostile files are tried: ``inside`` is where we may write, what stands around it must not change."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inside = folder, folder / "yard" / "inside"
        self.inside.mkdir(parents=True)
        save_tokenizer(folder / "tokenizer")
        self.tokenizer: Tokenizer = load_tokenizer(folder / "tokenizer")
        write_pairs(self.inside / "good.jsonl", ROWS)
        (folder / "yard" / "secret.parquet").write_bytes(b"secret")
        self._around = self._listing()

    def _listing(self) -> list[tuple[str, bytes]]:
        yard = self.folder / "yard"
        outside = [path for path in sorted(yard.rglob("*")) if self.inside not in (path, *path.parents)]
        return [(str(path), path.read_bytes() if path.is_file() else b"") for path in outside]

    def attempt(self, outcome: Outcome, kind: str, place: str, call: Callable[[], object]) -> None:
        """The call ends in time, and well or with an error that is meant; nothing outside changes."""
        outcome.count(kind)
        try:
            with time_limit(SECONDS), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call()
        except AsrDataError:
            outcome.count(f"{kind}: refused")
        except Hang:
            outcome.broken.append(f"{kind} {place}: hangs")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            outcome.broken.append(f"{kind} {place}: {type(error).__name__}: {str(error)[:200]}")
        if self._listing() != self._around:
            outcome.broken.append(f"{kind} {place}: changed something outside of its directory")

    def annotate(self, file: Path) -> None:
        """A run over the file; each of its rows is annotated or rejected, once, and the output is valid."""
        source = open_source(file)
        layout = detect(source.schema, first_records(source))
        out = self.inside / "out"
        shutil.rmtree(out, ignore_errors=True)
        summary = run(source, layout, out, Faulty(), self.tokenizer, writing=OutputConfig(shard_rows=7))
        if summary.annotated + summary.rejected != source.rows:
            raise AssertionError(f"{summary.annotated} + {summary.rejected} rows of {source.rows}")
        problems = validate(out)
        if problems:
            raise AssertionError(f"not valid: {problems[0]}")
        show(out)
        check_card(out)


def check_card(directory: Path) -> None:
    """The card's header is the YAML that we meant, and its text holds no markup of the data set's.

    Raises:
        AssertionError: it is not so.
    """
    head, body = (directory / "README.md").read_text(encoding="utf-8").removeprefix("---\n").split("\n---\n", 1)
    keys = set(yaml.safe_load(head))
    if keys != {"tags", "configs", "dataset_info"}:
        raise AssertionError(f"the card's header has the keys {keys}")
    if "<script" in body or any(ord(c) < 32 and c != "\n" for c in body):
        raise AssertionError("the card holds markup or control characters of the data set")


def show(directory: Path) -> str:
    """What ``inspect`` prints.

    Raises:
        AssertionError: it holds a character that a terminal obeys.
    """
    text = io.StringIO()
    annotated = open_output(directory)
    if annotated.manifest.stage == "masked":
        views = row_views(annotated, first_rows(annotated, 5), gold_reader(annotated))
        show_rows(Console(file=text, width=100), views)
    shown = text.getvalue()
    obeyed = {c for c in shown if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u202e\u2066\u2028"}
    if obeyed:
        raise AssertionError(f"the terminal is sent {obeyed}")
    return shown


# --- rows ---------------------------------------------------------------------------------------------------

UNHURRIED: Any = {"deadline": None, "database": None, "suppress_health_check": list(hypothesis.HealthCheck)}
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


def any_rows(folder: Path, examples: int) -> Outcome:
    """Files of rows that hypothesis makes; what breaks is made small by it."""
    outcome = Outcome("rows by hypothesis")
    yard = Yard(folder)

    @hypothesis.settings(max_examples=examples, derandomize=True, **UNHURRIED)
    @hypothesis.given(st.one_of(*(st.lists(record, min_size=1, max_size=8) for record in ANY_RECORD)))
    def attempt(records: list[dict[str, Any]]) -> None:
        file = yard.inside / "any.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        outcome.count("rows", len(records))
        outcome.count("files")
        try:
            with time_limit(SECONDS):
                yard.annotate(file)
        except AsrDataError:
            outcome.count("files: refused")

    with timed(outcome):
        try:
            attempt()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            outcome.broken.append("".join(traceback.format_exception_only(error)) + "\n".join(error.__notes__))
    return outcome


# --- rows and files ----------------------------------------------------------------------------------------


def rows_and_files(folder: Path, rows: int, files: int, seed: int = 0) -> Outcome:
    """Fuzzed rows in JSON Lines files, and mutated bytes of JSON Lines, JSON, CSV, gzip, Parquet and Arrow files."""
    outcome = Outcome("hostile rows and files")
    draw = random.Random(seed)
    with timed(outcome):
        yard = Yard(folder)
        while outcome.tried.get("rows", 0) < rows:
            file = yard.inside / "rows.jsonl"
            lines = [_row(draw) for _ in range(ROWS)]
            file.write_text("".join(line + "\n" for line in lines), "utf-8", errors="surrogatepass")
            outcome.count("rows", ROWS)
            number = outcome.tried.get("files of fuzzed rows", 0)
            yard.attempt(outcome, "files of fuzzed rows", str(number), lambda file=file: yard.annotate(file))  # type: ignore[misc]
        for name in NAMES:
            file = yard.inside / os.fsdecode(name)
            shutil.copy(yard.inside / "good.jsonl", file)
            yard.attempt(outcome, "file names", repr(name), lambda file=file: yard.annotate(file))  # type: ignore[misc]
            file.unlink()
        good = _good_files(yard.inside)
        for number in range(files):
            original = good[number % len(good)]
            file = yard.inside / f"mutated{original.name.removeprefix('good')}"
            file.write_bytes(mutated(original.read_bytes(), draw))
            kind = f"mutated {original.name.removeprefix('good')}"
            yard.attempt(outcome, kind, str(number), lambda file=file: yard.annotate(file))  # type: ignore[misc]
    return outcome


def _row(draw: random.Random) -> str:
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


def _good_files(folder: Path) -> list[Path]:
    import gzip

    lines = (folder / "good.jsonl").read_bytes()
    records = [json.loads(line) for line in lines.splitlines()]
    table = pa.Table.from_pylist(records)
    (folder / "good.json").write_text(json.dumps(records), encoding="utf-8")
    (folder / "good.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))
    pq.write_table(table, folder / "good.parquet", write_page_checksum=True)
    with pa.OSFile(str(folder / "good.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    names = [f'"{row["prompt"]}","{row["chosen"]}","{row["rejected"]}"' for row in records]
    (folder / "good.csv").write_text("prompt,chosen,rejected\n" + "\n".join(names) + "\n", encoding="utf-8")
    return [folder / f"good{suffix}" for suffix in (".jsonl", ".parquet", ".json", ".jsonl.gz", ".csv", ".arrow")]


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


# --- settings and manifests --------------------------------------------------------------------------------

SCORER_SETTINGS: dict[str, Any] = {
    "kind": "token_head",
    "head": {"kind": "linear", "prefix": "score.", "labels": 2},
    "transform": {"kind": "softmax", "label": 1},
}
OPTIONS: tuple[tuple[Callable[[str], object], tuple[str, ...]], ...] = (
    (settings.pivot, ("0.2", "auto", "auto:4")),
    (settings.schmitt, ("0.05", "auto")),
    (settings.penalty, ("paper", "bic", "1e-3")),
    (settings.boundary, ("sentence=1,word=50",)),
    (settings.baseline, ("pair", "dataset:0.3", "running:0.99", "-1.5")),
    (settings.batch_tokens, ("auto", "4096")),
    (lambda text: settings.columns([text]), ("prompt=q,chosen=a",)),
)


def settings_and_manifests(folder: Path, times: int, seed: int = 0) -> Outcome:
    """Hostile scorer settings, options and manifests, each ``times`` times; a manifest with a right seal as well."""
    outcome = Outcome("hostile settings and manifests")
    draw = random.Random(seed)
    with timed(outcome):
        yard = Yard(folder)
        yard.annotate(yard.inside / "good.jsonl")
        out = yard.inside / "out"
        raw = (out / "asr.json").read_bytes()
        content = json.loads(raw)
        del content["sha256"]
        for number in range(times):
            file = yard.inside / "asr_scorer.json"
            text = json.dumps(_replaced(SCORER_SETTINGS, draw)).encode()
            file.write_bytes(mutated(text, draw) if number % 2 else text)
            yard.attempt(outcome, "scorer settings", str(number), lambda file=file: read_config(file))  # type: ignore[misc]
            parse, examples = OPTIONS[number % len(OPTIONS)]
            option = mutated(draw.choice(examples).encode(), draw).decode("utf-8", "surrogateescape")
            yard.attempt(outcome, "options", repr(option)[:80], lambda parse=parse, text=option: parse(text))  # type: ignore[misc]
            if number % 4 == 0:
                (out / "asr.json").write_bytes(mutated(raw, draw))
                kind = "mutated manifests"
            else:
                (out / "asr.json").write_bytes(sealed_json(_replaced(content, draw)))
                kind = "manifests with a right seal"
            yard.attempt(outcome, kind, str(number), lambda: use(yard, out))
    return outcome


def use(yard: Yard, directory: Path) -> None:
    """All that a user might do with a directory of somebody else."""
    from asr_data.export import export

    for other in ("masked", "exported"):
        shutil.rmtree(yard.inside / other, ignore_errors=True)
    for call in (
        lambda: validate(directory),
        lambda: show(directory),
        lambda: mask(directory, yard.inside / "masked", yard.tokenizer),
        lambda: export(open_output(directory), "jsonl", yard.inside / "exported"),
    ):
        with contextlib.suppress(AsrDataError):
            call()


def _replaced(content: Any, draw: random.Random) -> Any:
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
