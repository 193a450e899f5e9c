"""From a data set with two answers per prompt to a win rate: ask, record, decide, measure."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from asr_data.errors import InputError
from asr_data.judging import output as directory
from asr_data.judging.asking import Client
from asr_data.judging.config import Asking, Judge, check_judges
from asr_data.judging.expert import read_pile
from asr_data.judging.figures import Figures, figures
from asr_data.judging.journal import JOURNAL_NAME, Journal, Key, Verdict, read_verdicts
from asr_data.judging.pairs import Pairs
from asr_data.judging.prompt import PROMPT_VERSION
from asr_data.judging.session import Session
from asr_data.judging.verdict import ORDERS, Pick
from asr_data.judging.votes import Outcome, outcome
from asr_data.progress import Progress
from asr_data.rows import Layout, Source
from asr_data.types import RejectedRow


@dataclass(frozen=True, slots=True)
class Judged:
    """What was written.

    Attributes:
        path: the directory.
        figures: what was found.
        rejects: code to number of input rows that are no pair.
        asked: verdicts that this run asked for.
        cost: of all verdicts, earlier runs included; None where a judge has no prices.
    """

    path: Path
    figures: Figures
    rejects: dict[str, int]
    asked: int
    cost: float | None


def judge(
    source: Source,
    layout: Layout,
    output: Path,
    judges: Sequence[Judge],
    *,
    reference: str | None = None,
    expert: str | None = None,
    limit: int | None = None,
    asking: Asking = Asking(),  # noqa: B008 - frozen
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Judged:
    """Ask judges which of two answers is better, each in both orders, and write verdicts and win rate.

    Verdicts that are there from an earlier run are kept, and so is what an expert wrote into ``undecided.csv``.

    Args:
        source: the input.
        layout: its chosen response is the first answer, its rejected one the second.
        output: the directory to write.
        judges: who is asked; what more than half of them vote for is the majority.
        reference: column with a correct answer.
        expert: column with decisions of an expert: first, second, tie, or empty.
        limit: judge only the first so many rows; a later run may judge more.
        asking: how requests are made.
        overwrite: throw earlier verdicts away.
        progress: told how far it is.

    Raises:
        ConfigError: judges or columns that cannot be right, or the package ``openai`` is missing.
        InputError: the input has no two answers per prompt.
        OutputExistsError: ``output`` holds something else, or verdicts for other settings.
        JudgeError: requests failed for good; every verdict so far is kept.
    """
    check_judges(tuple(judges))
    pairs = Pairs(source, layout, reference, expert, limit)
    pairs.check()
    clients = {judge.title: Client(judge, asking) for judge in judges}
    plan = _plan(source, layout, reference, judges)
    directory.prepare(output, plan, overwrite=overwrite)
    decided = read_pile(output)
    journal = Journal(output / JOURNAL_NAME, plan)
    try:
        session = Session(journal, clients, asking, read_verdicts(output / JOURNAL_NAME), progress)
        before = len(session.verdicts)
        session.count(pairs)
        _run(session.ask_all(pairs))
        content = {**_description(pairs, judges), "plan": plan}
        found, rejects = _finish(output, content, pairs, judges, session.verdicts, decided)
    finally:
        journal.close()
    reasons = Counter(row.code for row in rejects)
    return Judged(output, found, dict(reasons), len(session.verdicts) - before, session.cost)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Runs it to its end, in a thread of its own where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def _plan(source: Source, layout: Layout, reference: str | None, judges: Sequence[Judge]) -> dict[str, Any]:
    """All that can change a verdict. Neither the limit nor the expert can."""
    return {
        "input": source.fingerprint,
        "layout": layout.model_dump(mode="json"),
        "reference": reference,
        "prompt": PROMPT_VERSION,
        "judges": {judge.title: judge.identity() for judge in judges},
    }


def _description(pairs: Pairs, judges: Sequence[Judge]) -> dict[str, Any]:
    """What ``judge.json`` says of input and judges."""
    source, columns = pairs.source, pairs.layout.columns
    return {
        "asr_data_version": version("asr-data"),
        "input": {"description": source.description, "fingerprint": source.fingerprint, "rows": source.rows},
        "layout": pairs.layout.describe(),
        "columns": {
            "first": columns.get("chosen", "the preferred answer"),
            "second": columns.get("rejected", "the other answer"),
            "reference": pairs.reference,
            "expert": pairs.expert,
        },
        "limit": pairs.limit,
        "judges": [judge.model_dump(mode="json", exclude={"key_variable"}) for judge in judges],
    }


def _finish(
    output: Path,
    content: Mapping[str, Any],
    pairs: Pairs,
    judges: Sequence[Judge],
    verdicts: Mapping[Key, Verdict],
    decided: Mapping[int, Pick],
) -> tuple[Figures, list[RejectedRow]]:
    """Decides every pair, measures, and writes all files but the journal."""
    titles = [judge.title for judge in judges]
    outcomes: list[Outcome] = []
    rejects: list[RejectedRow] = []
    for pair in pairs:
        if isinstance(pair, RejectedRow):
            rejects.append(pair)
        else:
            outcomes.append(outcome(pair, titles, verdicts, pair.expert or decided.get(pair.index)))
    if not outcomes:
        first = rejects[0]
        raise InputError(f"no row is a pair of answers; row {first.index}: {first.code}: {first.message}")
    asked = [one.pair.index for one in outcomes if not one.pair.is_identical]
    shown = [verdicts[row, title, order] for row in asked for title in titles for order in ORDERS]
    found = figures(judges, outcomes, shown)
    directory.finish(output, content, outcomes, shown, rejects, found)
    return found, rejects
