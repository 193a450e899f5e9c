"""The requests of one run: find missing verdicts, ask for them concurrently, record every reply in the journal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from asr_data.errors import JudgeError
from asr_data.judging.client import Client, Exchange, RequestFailedError
from asr_data.judging.config import RequestSettings
from asr_data.judging.journal import Journal, Key, Verdict
from asr_data.judging.output import storage_errors
from asr_data.judging.pairs import Pair, Pairs
from asr_data.judging.verdict import ORDERS, Order
from asr_data.progress import Progress
from asr_data.types import RejectedRow

STAGE: Final = "judge"
FAILURES_IN_A_ROW: Final = 5
"""This many failed requests of a judge without a success in between end the run: it is down or misconfigured."""


class Prompt(Protocol):
    """Makes the messages of a request, as :func:`asr_data.judging.prompt.messages` does."""

    def __call__(
        self, request: str, answer_a: str, answer_b: str, reference: str | None = None, *, system_role: bool = True
    ) -> list[dict[str, str]]:
        """The messages that ask for one verdict."""


@dataclass(frozen=True, slots=True)
class _Task:
    pair: Pair
    client: Client
    order: Order
    prompt: Prompt

    @property
    def key(self) -> Key:
        return self.pair.index, self.client.judge.title, self.order

    def messages(self) -> list[dict[str, str]]:
        pair = self.pair
        shown = (pair.first, pair.second) if self.order == "as_given" else (pair.second, pair.first)
        return self.prompt(pair.prompt, *shown, pair.reference, system_role=self.client.judge.system_role)


@dataclass(slots=True)
class Session:
    """State of a run: verdicts so far, failures, counts.

    Attributes:
        journal: records every verdict.
        clients: judge name to its client.
        requests: how requests are made.
        prompt: makes the messages.
        verdicts: the journal's; grows.
        progress: updated after every verdict.
        total, done: verdicts needed, and verdicts there are.
        tokens: sent and received by this run.
        cost: of all verdicts in the journal; None where a judge has no prices.
        failed: requests that failed after all retries, and why.
        answered: judges that have given a verdict; if one of them rejects a request, the pair is at fault.
        in_a_row: judge name to the number of other failures since its last success.
        held_back: missing verdicts of judges of which no reply could be parsed so far. They are recorded once it is
            known that the form of the replies is not at fault; else the next run asks again.
    """

    journal: Journal
    clients: Mapping[str, Client]
    requests: RequestSettings
    prompt: Prompt
    verdicts: dict[Key, Verdict]
    progress: Progress | None
    total: int = 0
    done: int = 0
    tokens: int = 0
    cost: float | None = None
    failed: list[tuple[_Task, str]] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    in_a_row: Counter[str] = field(default_factory=Counter)
    held_back: list[tuple[_Task, Exchange]] = field(default_factory=list)

    def count(self, pairs: Pairs) -> None:
        """Count the verdicts needed and those there are, and add up their cost."""
        for pair in pairs:
            if isinstance(pair, Pair) and not pair.is_identical:
                keys = [(pair.index, name, order) for name in self.clients for order in ORDERS]
                self.total += len(keys)
                self.done += sum(key in self.verdicts for key in keys)
        if self.clients and all(client.judge.cost(0, 0) is not None for client in self.clients.values()):
            self.cost = 0.0
        for verdict in self.verdicts.values():
            self._add_cost(verdict)
            self.answered.add(verdict.judge)
            self.clients[verdict.judge].is_understood |= verdict.verdict is not None

    async def ask_all(self, pairs: Pairs) -> None:
        """Ask for every missing verdict.

        Raises:
            JudgeError: requests failed after all retries.
        """
        tasks = self._tasks(pairs)
        self._tell()
        workers = [
            asyncio.ensure_future(self._work(tasks))
            for _ in range(min(self.requests.concurrency, self.total - self.done))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            for client in self.clients.values():
                await client.close()
        self._record_held_back()
        if self.failed and self.requests.on_failure == "stop":
            raise JudgeError(
                f"{len(self.failed)} of {self.total} requests failed; {_row(self.failed[0])}. Verdicts so far are "
                "kept; run the same command again to ask for the others. With --on-failure record, failed requests are "
                "recorded as missing verdicts"
            )
        for task, problem in self.failed:
            self._record(task, Exchange(problem=problem))

    def _tasks(self, pairs: Pairs) -> Iterator[_Task]:
        for pair in pairs:
            if isinstance(pair, RejectedRow) or pair.is_identical:
                continue
            for client in self.clients.values():
                for order in ORDERS:
                    task = _Task(pair, client, order, self.prompt)
                    if task.key not in self.verdicts:
                        yield task

    async def _work(self, tasks: Iterator[_Task]) -> None:
        for task in tasks:  # shared by all workers
            name = task.client.judge.title
            try:
                exchange = await task.client.ask(task.messages(), task.order)
            except RequestFailedError as failure:
                self.failed.append((task, str(failure)))
                self.in_a_row[name] += not (failure.is_refusal and name in self.answered)
                if self.in_a_row[name] >= FAILURES_IN_A_ROW:
                    raise JudgeError(
                        f"{self.in_a_row[name]} requests in a row failed; {_row(self.failed[-1])}. Verdicts so far are "
                        "kept: run the same command again to continue"
                    ) from failure
                continue
            self.in_a_row[name] = 0
            self.answered.add(name)
            self.held_back.append((task, exchange))
            if task.client.is_understood:
                self._record_held_back(name)

    def _record_held_back(self, judge: str | None = None) -> None:
        """Record what was held back of one judge, or of all."""
        held = [one for one in self.held_back if judge in (None, one[0].client.judge.title)]
        self.held_back = [one for one in self.held_back if one not in held]
        for task, exchange in held:
            self._record(task, exchange)

    def _record(self, task: _Task, exchange: Exchange) -> None:
        opinion = exchange.opinion
        said: dict[str, Any] = {}
        if opinion is not None:
            said = {"verdict": opinion.verdict, "reason": opinion.reason, "tags": opinion.tags, **opinion.criteria}
        verdict = Verdict(
            row=task.pair.index,
            judge=task.client.judge.title,
            order=task.order,
            problem=exchange.problem,
            reply=exchange.reply,
            attempts=exchange.attempts,
            tokens_in=exchange.tokens_in,
            tokens_out=exchange.tokens_out,
            **said,
        )
        with storage_errors(self.journal.path):
            self.journal.append(verdict)
        self.verdicts[verdict.key] = verdict
        self.done += 1
        self.tokens += verdict.tokens_in + verdict.tokens_out
        self._add_cost(verdict)
        self._tell()

    def _add_cost(self, verdict: Verdict) -> None:
        price = self.clients[verdict.judge].judge.cost(verdict.tokens_in, verdict.tokens_out)
        self.cost = None if self.cost is None or price is None else self.cost + price

    def _tell(self) -> None:
        if self.progress is not None and self.total:
            expected = self.cost * self.total / self.done if self.cost and self.done else None
            note = "" if expected is None else f"cost {self.cost:.2f} of about {expected:.2f}"
            self.progress.update(STAGE, self.done, self.total, self.tokens, unit="verdicts", note=note)


def _row(failed: tuple[_Task, str]) -> str:
    return f"row {failed[0].pair.index}, {failed[1]}"
