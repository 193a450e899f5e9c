"""From a data set with two answers per prompt to a win rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from asr_data.endpoints.client import Client
from asr_data.endpoints.config import RequestSettings
from asr_data.endpoints.journal import Journal, storage_errors
from asr_data.endpoints.session import Session, check_budget
from asr_data.errors import InputError
from asr_data.judging import output as directory
from asr_data.judging.config import JUDGE, Judge, check_voters
from asr_data.judging.expert import read_pile
from asr_data.judging.figures import Figures, figures
from asr_data.judging.journal import JOURNAL_NAME, Key, Verdict, read_verdicts
from asr_data.judging.pairs import Pairs
from asr_data.judging.prompt import PROMPT_VERSION, messages
from asr_data.judging.session import tasks
from asr_data.judging.template import PromptTemplate
from asr_data.judging.verdict import ORDERS, Pick
from asr_data.judging.votes import Outcome, outcome
from asr_data.progress import Progress
from asr_data.rows import Layout, Source
from asr_data.types import RejectedRow


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """Result of :func:`judge`.

    Attributes:
        path: the directory.
        figures: win rates, agreement, bias.
        rejects: reason code to number of input rows that are not pairs.
        asked: verdicts requested by this run.
        cost: of all verdicts, earlier runs included; None if a judge has no prices.
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
    votes: Sequence[str] = (),
    prompt: PromptTemplate | None = None,
    limit: int | None = None,
    requests: RequestSettings = RequestSettings(),  # noqa: B008 - frozen
    overwrite: bool = False,
    progress: Progress | None = None,
) -> JudgeReport:
    """Ask judges which of two answers is better, in both orders, and write verdicts and win rates.

    Verdicts of an earlier run are kept, as are an expert's decisions in ``undecided.csv``.

    Args:
        source: the input.
        layout: its chosen response is the first answer, its rejected response the second.
        output: the directory to write to.
        judges: the models to ask; may be empty if there are ``votes``.
        reference: column with correct answers.
        expert: column with an expert's decisions: first, second, tie or empty.
        votes: columns with votes of people. The majority is what more than half of all judges and columns vote for.
        prompt: what judges are asked, in place of the default prompt.
        limit: number of rows to judge, from the start; a later run may judge more.
        requests: how requests are made.
        overwrite: discard earlier verdicts.
        progress: receives the counts.

    Raises:
        ConfigError: invalid judges or columns, or the package ``openai`` is missing.
        InputError: the input does not have two answers per prompt.
        OutputExistsError: ``output`` contains other files, or verdicts for other settings.
        JudgeError: requests failed after all retries; verdicts so far are kept.
    """
    check_voters(judges, votes)
    pairs = Pairs(source, layout, reference, expert, tuple(votes), limit)
    pairs.check()
    clients = {judge.title: Client(judge, requests, JUDGE) for judge in judges}
    check_budget(requests, clients)
    plan = _plan(source, layout, reference, judges, prompt)
    with storage_errors(output, JUDGE.answers):
        directory.prepare(output, plan, overwrite=overwrite)
        decided, journal = read_pile(output), Journal(output / JOURNAL_NAME, plan)
    try:
        ask = messages if prompt is None else prompt.messages
        verdicts = read_verdicts(output / JOURNAL_NAME)
        before = len(verdicts)
        asking = partial(tasks, pairs, clients, ask)
        session = Session(JUDGE, journal, clients, requests, asking, verdicts, progress)
        session.run()
        content = {**_description(pairs, judges), "plan": plan}
        with storage_errors(output, JUDGE.answers):
            found, rejects = _finish(output, content, pairs, judges, verdicts, decided)
    finally:
        journal.close()
    codes = dict(Counter(row.code for row in rejects))
    return JudgeReport(output, found, codes, len(verdicts) - before, session.cost)


def _plan(
    source: Source, layout: Layout, reference: str | None, judges: Sequence[Judge], prompt: PromptTemplate | None
) -> dict[str, Any]:
    """Everything that can change a verdict; the limit, people's votes and the expert cannot."""
    return {
        "input": source.fingerprint,
        "layout": layout.model_dump(mode="json"),
        "reference": reference,
        "prompt": PROMPT_VERSION if prompt is None else {"template": prompt.text},
        "judges": {judge.title: judge.identity() for judge in judges},
    }


def _description(pairs: Pairs, judges: Sequence[Judge]) -> dict[str, Any]:
    """What ``judge.json`` records about input and judges."""
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
            "votes": list(pairs.votes),
        },
        "voters": [*(judge.title for judge in judges), *pairs.votes],
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
    """Decide every pair, compute the figures and write all files but the journal."""
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
        raise InputError(f"no row has two answers to compare; row {first.index}: {first.code}: {first.message}")
    asked = [one.pair.index for one in outcomes if not one.pair.is_identical]
    shown = [verdicts[row, title, order] for row in asked for title in titles for order in ORDERS]
    found = figures(judges, outcomes, shown, pairs.votes)
    directory.finish(output, content, outcomes, shown, rejects, found)
    return found, rejects
