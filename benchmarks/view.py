"""The page of ``asr-annotate view``: opening a million rows, and masks of the rows in view at other settings.

    python -m benchmarks.view [--rows 1000000] [--repeat 30] [--directory DIR]

The million rows are ten thousand, written a hundred times with other numbers. The command runs in a process of its own
and is asked over HTTP as the page asks it; and, where Chromium and playwright are there, by the page itself. With
``--directory``, only an annotated directory is opened. Prints a Markdown table with medians
and ranges.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from asr_data.config import MaskConfig, OutputConfig
from asr_data.pipeline import run
from asr_data.rows import detect, first_records, open_source
from asr_data.storage import open_output
from asr_data.storage.commit import FileRecord, commit_parquet
from asr_data.storage.manifest import MANIFEST_NAME
from asr_data.text.tokenizer import load_tokenizer
from benchmarks.memory import FreeScorer, tokenizer

SHARD = 10_000


def main(words: Sequence[str] | None = None) -> None:
    """Make the directories, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--directory", type=Path)
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        if asked.directory is not None:
            lines = first_rows(asked.directory.resolve(), asked.directory.name)
        else:
            lines = [*opening(Path(folder) / "many", asked.rows), *dragging(Path(folder) / "long", asked.repeat)]
    print(f"{platform.machine()}, Python {platform.python_version()}\n")
    print("| what | median | range |\n|---|---|---|")
    for name, seconds in lines:
        spread = f"{1000 * min(seconds):,.0f} to {1000 * max(seconds):,.0f} ms" if len(seconds) > 1 else ""
        print(f"| {name} | {1000 * statistics.median(seconds):,.0f} ms | {spread} |")


def opening(folder: Path, rows: int) -> list[tuple[str, list[float]]]:
    """Times to start a server on many rows and to open its page, and of pages, orders and filters."""
    annotate(folder, SHARD, words=12)
    multiply(folder, rows // SHARD)
    in_browser = first_rows(folder, f"{rows:,} rows")
    begun = time.perf_counter()
    with Server(folder) as server:
        started = time.perf_counter() - begun
        page = timed(lambda: server.send("GET", server.path), 5)
        last = {"offset": rows - 20}
        margin = {"filter": {"sort": "margin", "descending": True}}
        where = {"filter": {"where": "margin > 0 AND kept_chosen < 0.5"}}
        return [
            *in_browser,
            (f"{rows:,} rows: from the command to the address", [started]),
            ("the page itself", page),
            ("its first 20 rows, first time", timed(lambda: server.ask("rows"), 1)),
            ("its first 20 rows", timed(lambda: server.ask("rows"), 5)),
            ("the last 20 rows, first time", timed(lambda: server.ask("rows", last), 1)),
            ("sorted by reward gap, first time", timed(lambda: server.ask("rows", margin), 1)),
            ("sorted by reward gap", timed(lambda: server.ask("rows", margin), 5)),
            ("a condition on gap and kept share, first time", timed(lambda: server.ask("rows", where), 1)),
        ]


def first_rows(folder: Path, what: str, repeat: int = 3) -> list[tuple[str, list[float]]]:
    """Times from the command to the first rows in the browser, to settings that can be changed, and to curves."""
    steps = {
        "the first rows on the screen": "article .response",
        "settings that can be changed": "#controls:not([hidden]) .setting",
        "their curves": "article .chart svg",
    }
    found: dict[str, list[float]] = {step: [] for step in steps}
    with browser() as opened:
        for _ in range(repeat if opened is not None else 0):
            begun = time.perf_counter()
            with Server(folder) as server:
                page = opened.new_page()
                page.goto(server.address)
                for step, selector in steps.items():
                    page.wait_for_selector(selector, state="attached", timeout=120_000)
                    found[step].append(time.perf_counter() - begun)
                page.close()
    return [(f"{what}: from the command to {step}", times) for step, times in found.items() if times]


def dragged(folder: Path, what: str, repeat: int) -> list[tuple[str, list[float]]]:
    """Times from a move of a slider to masks on the screen, and the longest time without a frame meanwhile."""
    with browser() as opened, Server(folder) as server:
        if opened is None:
            return []
        page = opened.new_page(viewport={"width": 1440, "height": 900})
        page.goto(server.address)
        page.wait_for_selector("#figures table", timeout=120_000)
        page.wait_for_selector("article .chart svg", timeout=120_000)
        times, gap = page.evaluate(_DRAG, repeat)
    return [
        (f"{what}, in the browser: from a move to its masks", [one / 1000 for one in times]),
        (f"{what}, in the browser: the longest time between two frames", [gap / 1000]),
    ]


_DRAG = """async (repeat) => {
  const slider = document.querySelector("[data-setting=penalty] input[type=range], .slider input[type=range]");
  const frame = () => new Promise(requestAnimationFrame);
  const times = [];
  let [gap, last, going] = [0, performance.now(), true];
  (async () => {
    while (going) {
      await frame();
      gap = Math.max(gap, performance.now() - last);
      last = performance.now();
    }
  })();
  for (let turn = 0; turn <= repeat; turn++) {
    const said = document.getElementById("settings-said");
    said.textContent = "";
    const begun = performance.now();
    slider.value = 100 + 20 * turn;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    while (!said.textContent.includes("tried")) await frame();
    if (turn) times.push(performance.now() - begun);
    else gap = 0;
  }
  going = false;
  return [times, gap];
}"""


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium; None where it or playwright is missing."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None or importlib.util.find_spec("playwright") is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


def dragging(folder: Path, repeat: int) -> list[tuple[str, list[float]]]:
    """Times of masks for 20 rows with two responses of 500 tokens, at settings that change every time."""
    annotate(folder, 200, words=150)
    ids: list[Any] = []
    for batch in open_output(folder).data_batches(columns=["chosen_ids"]):
        ids += batch.column(0).to_pylist()
    tokens = f"20 rows of 2 × {statistics.median(len(one) for one in ids):,.0f} tokens"
    in_browser = dragged(folder, tokens, repeat)
    with Server(folder) as server:
        server.ask("rows")
        while not server.ask("ready")["ready"]:
            time.sleep(0.1)
        found = list(in_browser)
        for kind, name in (("schmitt", "delta"), ("optimal", "penalty"), ("pivot", "tau")):
            server.ask("masks", masks(kind, name, 0.5))  # compiles, and reads the sample
            times = [timed(partial(server.ask, "masks", masks(kind, name, n / 50)), 1)[0] for n in range(1, repeat + 1)]
            found.append((f"{tokens}, {kind}", times))
        settings = {"settings": MaskConfig().model_dump(mode="json")}
        return [*found, ("figures of the sample of 200 rows", timed(lambda: server.ask("figures", settings), 5))]


def masks(kind: str, name: str, value: float) -> dict[str, Any]:
    """The question of the page while one drags."""
    return {"settings": {"segmenter": {"kind": kind, name: value}}, "positions": list(range(20)), "rewards": False}


def timed(work: Callable[[], Any], times: int) -> list[float]:
    """Seconds of each call."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return found


class Server:
    """A server in a process of its own."""

    def __init__(self, folder: Path) -> None:
        program = "from asr_data_cli.app import main; main()"
        words = [sys.executable, "-c", program, "view", str(folder), "--labels", os.devnull]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.address, self.path, self._netloc, self._token = "", "", "", ""

    def __enter__(self) -> Server:
        if self._process.stdout is None:
            raise RuntimeError("no output")
        address = next((line.strip() for line in self._process.stdout if "token=" in line), None)
        if address is None:
            raise RuntimeError("the server did not start")
        self.address = address
        parts = urlsplit(address)
        self.path, self._netloc = f"/?{parts.query}", parts.netloc
        self._token = parse_qs(parts.query)["token"][0]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The content of the answer."""
        connection = http.client.HTTPConnection(self._netloc)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        content = connection.getresponse().read()
        connection.close()
        return content

    def ask(self, path: str, question: dict[str, Any] | None = None) -> Any:
        """Ask as the page does."""
        answer = self.send("POST", f"/api/{path}", json.dumps(question or {}).encode())
        if b'"error"' in answer[:20]:
            raise RuntimeError(answer.decode())
        return json.loads(answer)


def annotate(folder: Path, rows: int, words: int) -> None:
    """An annotated directory of pairs with so many words a side."""
    text = folder.with_suffix(".jsonl")
    with text.open("w", encoding="utf-8") as file:
        for number in range(rows):
            answer = " ".join(f"w{(number * 31 + place * 7) % 97}" for place in range(words))
            row = {"prompt": f"Question {number}?", "chosen": answer, "rejected": f"Not so: {answer[::-1]}"}
            file.write(json.dumps(row) + "\n")
    policy = folder.with_name(f"{folder.name}-policy")
    tokenizer().hf.save_pretrained(policy)
    source, own = open_source(text), load_tokenizer(policy)
    layout = detect(source.schema, first_records(source))
    run(source, layout, folder, FreeScorer(own), own, mask=MaskConfig(), writing=OutputConfig(shard_rows=SHARD))


def multiply(folder: Path, times: int) -> None:
    """Write the rows of a directory several times, each time with later numbers."""
    annotated = open_output(folder)
    manifest, records = annotated.manifest, []
    for config in ("data", "scores"):
        table = pq.read_table(folder / config / "train-00000.parquet")
        place = table.schema.get_field_index("asr_row")
        before: list[Any] = table.column("asr_row").to_pylist()
        for number in range(times):
            rows = pa.array([row + number * SHARD for row in before], pa.int64())
            moved = table.set_column(place, table.schema.field(place), rows)
            path = folder / config / f"train-{number:05}.parquet"
            records.append(commit_parquet(path, [moved], table.schema, root=folder))
    rejects: list[FileRecord] = [record for record in manifest.files if re.match("rejects/", record.path)]
    counts = manifest.counts.model_copy(
        update={"rows": SHARD * times, "annotated": manifest.counts.annotated * times, "rejected": 0}
    )
    made = manifest.model_copy(
        update={"files": tuple(sorted([*records, *rejects], key=lambda r: r.path)), "counts": counts}
    )
    (folder / MANIFEST_NAME).write_bytes(made.to_bytes())


if __name__ == "__main__":
    main()
