"""The long form of the fault campaign: ``make faults``, or ``python -m tests.faults.campaign --help``.

Prints a table for ``docs/reliability.md`` and every broken promise; exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from tests.faults import corrupting, failing, hostile, killing, million, scoring
from tests.faults.lab import Lab, Outcome

Part = Callable[[argparse.Namespace], Iterator[Outcome]]


def kills(options: argparse.Namespace) -> Iterator[Outcome]:
    """Points 1 and 6."""
    with _lab(options) as lab:
        yield killing.at_random_moments(lab, options.kills, seed=options.seed)
        yield killing.told_to_stop(lab, options.signals, seed=options.seed)
        yield killing.at_commit_points(lab, options.points)


def disks(options: argparse.Namespace) -> Iterator[Outcome]:
    """Points 2, 3 and 4."""
    with _lab(options) as lab:
        try:
            yield failing.disk_full(lab, options.sizes, lab.folder / "mount")
        except (PermissionError, FileNotFoundError) as error:
            print(f"disk full: not tried: {error}", file=sys.stderr)
        yield corrupting.finished_output(lab, options.flips, by_command=20, seed=options.seed)
        yield corrupting.unfinished_output(lab, 1, options.corrupted, seed=options.seed)
        for command in killing.COMMANDS:
            yield failing.kth_call_fails(lab, options.calls, command)


def input_and_scorers(options: argparse.Namespace) -> Iterator[Outcome]:
    """Points 5 and 7."""
    for call in (
        lambda folder: scoring.faulty_scorers(folder, rows=9),
        lambda folder: hostile.any_rows(folder, options.examples),
        lambda folder: hostile.rows_and_files(folder, options.rows, options.files, seed=options.seed),
        lambda folder: hostile.settings_and_manifests(folder, options.manifests, seed=options.seed),
    ):
        with _folder(options) as folder:
            yield call(folder)


def size(options: argparse.Namespace) -> Iterator[Outcome]:
    """Point 8."""
    with _folder(options) as folder:
        yield million.many_rows(folder, (options.many // 10, options.many))


PARTS: dict[str, Part] = {"kills": kills, "disks": disks, "input": input_and_scorers, "size": size}


def main() -> int:
    """Run the parts asked for, two at a time in processes of their own children."""
    options = _options()
    chosen = [PARTS[name] for name in options.parts]
    # Threads, since the work is done by children; what is tried in this process uses alarms, which need the main one.
    with ThreadPoolExecutor(max(1, options.jobs - 1)) as pool:
        waiting = [pool.submit(_done, part, options) for part in chosen if part is not input_and_scorers]
        outcomes = _done(input_and_scorers, options) if input_and_scorers in chosen else []
        outcomes += [outcome for future in waiting for outcome in future.result()]
    print("\n".join(report(outcomes)))
    return 1 if any(outcome.broken for outcome in outcomes) else 0


def _done(part: Part, options: argparse.Namespace) -> list[Outcome]:
    """All outcomes of a part; each is told as soon as it is there."""
    outcomes = []
    for outcome in part(options):
        print(_line(outcome), *outcome.broken, sep="\n", file=sys.stderr, flush=True)
        outcomes.append(outcome)
    return outcomes


def report(outcomes: list[Outcome]) -> Iterator[str]:
    """Markdown: what was tried, how often, and what broke."""
    yield f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, " + (
        ", ".join(f"{name} {version(name)}" for name in ("asr-data", "pyarrow", "datasets", "transformers"))
    )
    yield ""
    yield "| tried | times | broken | seconds |"
    yield "|---|---|---:|---:|"
    yield from map(_line, outcomes)
    for outcome in outcomes:
        yield from (f"broken: {outcome.name}: {line}" for line in outcome.broken)


def _line(outcome: Outcome) -> str:
    counts = ", ".join(f"{kind} {number:,}" for kind, number in outcome.tried.items())
    return f"| {outcome.name} | {counts} | {len(outcome.broken)} | {outcome.seconds:.0f} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__)
    add = parser.add_argument
    add("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}; default all")
    add("--jobs", type=int, default=2, help="parts at a time")
    add("--seed", type=int, default=0, help="of everything that is drawn at random")
    add("--folder", type=Path, default=None, help="where to work; default the system's folder for temporary files")
    add("--points", type=int, default=None, help="commit points of each command; default all")
    add("--kills", type=int, default=100, help="SIGKILLs at random moments")
    add("--signals", type=int, default=20, help="SIGTERMs and SIGINTs each")
    add("--calls", type=int, default=None, help="failing calls of each operation and command; default all")
    add("--sizes", type=int, default=24, help="sizes of the disk that is full")
    add("--flips", type=int, default=64, help="flipped bits in each file of a finished output")
    add("--corrupted", type=int, default=150, help="damaged files of an unfinished output")
    add("--examples", type=int, default=1_000, help="files of a few rows by hypothesis")
    add("--rows", type=int, default=4_000, help="fuzzed rows by our own generator")
    add("--files", type=int, default=1_000, help="mutated files")
    add("--manifests", type=int, default=500, help="hostile manifests, scorer settings and options each")
    add("--many", type=int, default=100_000, help="rows of the largest run; 1000000 takes a quarter of an hour")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    return options


@contextmanager
def _folder(options: argparse.Namespace) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="faults-", dir=options.folder) as folder:
        yield Path(folder)


@contextmanager
def _lab(options: argparse.Namespace) -> Iterator[Lab]:
    with _folder(options) as folder:
        lab = Lab(folder)
        try:
            yield lab
        finally:
            lab.close()


if __name__ == "__main__":
    sys.exit(main())
