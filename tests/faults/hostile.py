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
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st
from rich.console import Console

from asr_data.config import Fixed, Optimal, OutputConfig, Pivot, Schmitt
from asr_data.errors import AsrDataError
from asr_data.pipeline import mask, run
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.config import read_config
from asr_data.storage import open_output, validate
from asr_data.storage.seal import sealed_json
from asr_data.text import Tokenizer, load_tokenizer
from asr_data.view.model import row_views
from asr_data.view.reading import first_rows
from asr_data.view.report import write_report
from asr_data.view.terminal import show_rows
from asr_data_cli import setting_text, settings
from tests.faults.corpus import ANY_RECORD, NAMES, mutated, odd_row, replaced
from tests.faults.lab import Outcome, save_tokenizer, timed, write_pairs
from tests.faults.scoring import Faulty

SECONDS = 60
"""Longest time for one file; none needs a tenth of it, so a slow machine is no failure."""
ROWS = 20


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
        self._scripts: int | None = None

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
        scripts = report_scripts(out, self.inside / "report.html", self.tokenizer)
        self._scripts = scripts if self._scripts is None else self._scripts
        if scripts != self._scripts:
            raise AssertionError(f"the report has {scripts} scripts, and {self._scripts} are its own")


def report_scripts(directory: Path, page: Path, tokenizer: Tokenizer | None) -> int:
    """Writes the report; how many things in it a browser would run.

    Raises:
        AssertionError: it holds control characters.
    """
    write_report(open_output(directory), page, tokenizer=tokenizer, sample=5, overwrite=True)
    text = page.read_text(encoding="utf-8")
    if any(ord(c) < 32 and c not in "\n\t" for c in text):
        raise AssertionError("the report holds control characters")
    found: list[str] = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, attributes: found.extend(  # type: ignore[method-assign]
        [tag] * (tag in ("script", "iframe", "img", "object"))
        + [name for name, _ in attributes if name.startswith("on")]
    )
    reader.feed(text)
    return len(found)


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
        show_rows(Console(file=text, width=100), row_views(annotated, first_rows(annotated, 5), None))
    shown = text.getvalue()
    obeyed = {c for c in shown if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u202e\u2066\u2028"}
    if obeyed:
        raise AssertionError(f"the terminal is sent {obeyed}")
    return shown


# --- rows ---------------------------------------------------------------------------------------------------

UNHURRIED: Any = {"deadline": None, "database": None, "suppress_health_check": list(hypothesis.HealthCheck)}


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
            outcome.broken.append(
                "".join(traceback.format_exception_only(error)) + "\n".join(getattr(error, "__notes__", ()))
            )
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
            lines = [odd_row(draw) for _ in range(ROWS)]
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


# --- settings and manifests --------------------------------------------------------------------------------

SCORER_SETTINGS: dict[str, Any] = {
    "kind": "token_head",
    "head": {"kind": "linear", "prefix": "score.", "labels": 2},
    "transform": {"kind": "softmax", "label": 1},
}
OPTIONS: tuple[tuple[Callable[[str], object], tuple[str, ...]], ...] = (
    (lambda text: setting_text.parse(Pivot, "tau", text, "--tau"), ("0.2", "auto", "auto:4")),
    (lambda text: setting_text.parse(Schmitt, "delta", text, "--delta"), ("0.05", "auto")),
    (lambda text: setting_text.parse(Optimal, "penalty", text, "--penalty"), ("paper", "bic", "1e-3")),
    (lambda text: setting_text.parse(Optimal, "boundary", text, "--boundary"), ("sentence=1,word=50",)),
    (lambda text: setting_text.parse(Fixed, "length", text, "--length"), ("5",)),
    (setting_text.parse_baseline, ("pair", "dataset:0.3", "running:0.99", "-1.5")),
    (setting_text.parse_weights, ("segment", "soft:low=-1,high=2", "share:0.3")),
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
            text = json.dumps(replaced(SCORER_SETTINGS, draw)).encode()
            file.write_bytes(mutated(text, draw) if number % 2 else text)
            yard.attempt(outcome, "scorer settings", str(number), lambda file=file: read_config(file))  # type: ignore[misc]
            parse, examples = OPTIONS[number % len(OPTIONS)]
            option = mutated(draw.choice(examples).encode(), draw).decode("utf-8", "surrogateescape")
            yard.attempt(outcome, "options", repr(option)[:80], lambda parse=parse, text=option: parse(text))  # type: ignore[misc]
            if number % 4 == 0:
                (out / "asr.json").write_bytes(mutated(raw, draw))
                kind = "mutated manifests"
            else:
                (out / "asr.json").write_bytes(sealed_json(replaced(content, draw)))
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
        lambda: report_scripts(directory, yard.inside / "report.html", None),
        lambda: mask(directory, yard.inside / "masked", yard.tokenizer),
        lambda: export(open_output(directory), "jsonl", yard.inside / "exported"),
    ):
        with contextlib.suppress(AsrDataError):
            call()
