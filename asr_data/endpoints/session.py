"""The requests of one run: find missing answers, ask for them concurrently, record every one in the journal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from asr_data.endpoints.client import Client, Exchange, RequestFailedError, Role
from asr_data.endpoints.config import RequestSettings, ResponseFormat
from asr_data.endpoints.journal import Journal, storage_errors
from asr_data.http.workers import together
from asr_data.progress import Progress

FAILURES_IN_A_ROW: Final = 5
"""This many failed requests of a model without a success in between end the run: it is down or misconfigured."""


class Entry(Protocol):
    """An answer as the journal holds it."""

    @property
    def key(self) -> Hashable:
        """What was asked, and of whom."""

    @property
    def asked(self) -> str:
        """Name of the model."""

    @property
    def is_understood(self) -> bool:
        """Whether a reply could be parsed."""

    @property
    def format_taken(self) -> ResponseFormat | None:
        """What the server was asked for, where that had to be found out."""

    @property
    def tokens_in(self) -> int:
        """Tokens sent, over all attempts."""

    @property
    def tokens_out(self) -> int:
        """Tokens received, over all attempts."""

    def line(self) -> bytes:
        """The journal's line."""


E = TypeVar("E", bound=Entry)
E_co = TypeVar("E_co", bound=Entry, covariant=True)


class Task(Protocol[E_co]):
    """One answer to ask for."""

    @property
    def key(self) -> Hashable:
        """That of the entry."""

    @property
    def row(self) -> int:
        """The input row, for messages."""

    @property
    def client(self) -> Client:
        """The model."""

    async def ask(self) -> Exchange[Any]:
        """Ask for the answer; raises what :meth:`Client.ask` raises."""

    def entry(self, exchange: Exchange[Any]) -> E_co:
        """The answer, or why there is none, for the journal."""


@dataclass(slots=True)
class Session(Generic[E]):
    """State of a run: answers so far, failures, counts.

    Attributes:
        role: what models are asked for.
        journal: records every answer.
        clients: model name to its client.
        requests: how requests are made.
        tasks: gives every task of the run in order, those that are done included; is called several times.
        entries: the journal's; grows.
        progress: updated after every answer.
        total, done: answers needed, and answers there are.
        tokens: sent and received by this run.
        cost: of all answers in the journal; None where a model has no prices.
        failed: requests that failed after all retries, and why.
        answered: models that have given an answer; if one of them rejects a request, the row is at fault.
        in_a_row: model name to the number of other failures since its last success.
        held_back: missing answers of models of which no reply could be parsed so far. They are recorded once it is
            known that the form of the replies is not at fault; else the next run asks again.
    """

    role: Role
    journal: Journal
    clients: Mapping[str, Client]
    requests: RequestSettings
    tasks: Callable[[], Iterable[Task[E]]]
    entries: dict[Any, E]
    progress: Progress | None
    total: int = 0
    done: int = 0
    tokens: int = 0
    cost: float | None = None
    failed: list[tuple[Task[E], str]] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    in_a_row: Counter[str] = field(default_factory=Counter)
    held_back: list[tuple[Task[E], Exchange[Any]]] = field(default_factory=list)

    def run(self) -> None:
        """Ask for every missing answer; in a separate thread if an event loop is already running, as in a notebook.

        Raises:
            EndpointError: requests failed after all retries.
        """
        self._count()
        work: Coroutine[Any, Any, None] = self._ask_all()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(work)
            return
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, work).result()

    def _count(self) -> None:
        """Count the answers needed and those there are, and add up their cost."""
        for task in self.tasks():
            self.total += 1
            self.done += task.key in self.entries
        if self.clients and all(client.model.cost(0, 0) is not None for client in self.clients.values()):
            self.cost = 0.0
        for entry in self.entries.values():
            client = self.clients[entry.asked]
            self._add_cost(entry)
            self.answered.add(entry.asked)
            client.is_understood |= entry.is_understood
            client.response_format = client.response_format or entry.format_taken

    async def _ask_all(self) -> None:
        tasks = self._missing()
        self._tell()
        workers = min(self.requests.concurrency, self.total - self.done)
        try:
            await together(self._work(tasks) for _ in range(workers))
        finally:
            for client in self.clients.values():
                await client.close()
        self._record_held_back()
        self._check_finished()
        for task, problem in self.failed:
            self._record(task, Exchange(problem=problem))

    def _check_finished(self) -> None:
        role = self.role
        if self.failed and self.requests.on_failure == "stop":
            raise role.error(
                f"{len(self.failed)} of {self.total} requests failed; {_row(self.failed[0])}. "
                f"{role.answers.capitalize()} so far are kept; run the same command again to ask for the others. With "
                f"--on-failure record, failed requests are recorded as {role.missing}"
            )
        if self._is_spent() and self.done + len(self.failed) < self.total:
            raise role.error(
                f"the budget of {self.requests.budget:g} is spent: {self.cost:.4f} for {self.done:,} of "
                f"{self.total:,} {role.answers}. They are kept; run the same command with a larger --budget to go on"
            )

    def _missing(self) -> Iterator[Task[E]]:
        for task in self.tasks():
            if self._is_spent():
                return
            if task.key not in self.entries:
                yield task

    def _is_spent(self) -> bool:
        budget = self.requests.budget
        return budget is not None and self.cost is not None and self.cost >= budget

    async def _work(self, tasks: Iterator[Task[E]]) -> None:
        for task in tasks:  # shared by all workers
            name = task.client.model.title
            try:
                exchange = await task.ask()
            except RequestFailedError as failure:
                if failure.is_too_long:
                    self._record(task, Exchange(problem=str(failure)))
                    continue
                self.failed.append((task, str(failure)))
                self.in_a_row[name] += not (failure.is_refusal and name in self.answered)
                if self.in_a_row[name] >= FAILURES_IN_A_ROW:
                    raise self.role.error(
                        f"{self.in_a_row[name]} requests in a row failed; {_row(self.failed[-1])}. "
                        f"{self.role.answers.capitalize()} so far are kept: run the same command again to continue"
                    ) from failure
                continue
            self.in_a_row[name] = 0
            self.answered.add(name)
            self.held_back.append((task, exchange))
            if task.client.is_understood:
                self._record_held_back(name)

    def _record_held_back(self, model: str | None = None) -> None:
        """Record what was held back of one model, or of all."""
        held = [one for one in self.held_back if model in (None, one[0].client.model.title)]
        self.held_back = [one for one in self.held_back if one not in held]
        for task, exchange in held:
            self._record(task, exchange)

    def _record(self, task: Task[E], exchange: Exchange[Any]) -> None:
        entry = task.entry(exchange)
        with storage_errors(self.journal.path, self.role.answers):
            self.journal.append(entry.line())
        self.entries[entry.key] = entry
        self.done += 1
        self.tokens += entry.tokens_in + entry.tokens_out
        self._add_cost(entry)
        self._tell()

    def _add_cost(self, entry: E) -> None:
        price = self.clients[entry.asked].model.cost(entry.tokens_in, entry.tokens_out)
        self.cost = None if self.cost is None or price is None else self.cost + price

    def _tell(self) -> None:
        if self.progress is not None and self.total:
            expected = self.cost * self.total / self.done if self.cost and self.done else None
            note = "" if expected is None else f"cost {self.cost:.2f} of about {expected:.2f}"
            self.progress.update(self.role.noun, self.done, self.total, self.tokens, unit=self.role.answers, note=note)


def check_budget(requests: RequestSettings, clients: Mapping[str, Client]) -> None:
    """Raise ConfigError if there is a budget and a model without prices."""
    from asr_data.errors import ConfigError

    unpriced = [name for name, client in clients.items() if client.model.cost(0, 0) is None]
    if requests.budget is not None and unpriced:
        raise ConfigError(f"--budget needs the prices of {unpriced[0]!r}: --price-in and --price-out")


def _row(failed: tuple[Task[Any], str]) -> str:
    return f"row {failed[0].row}, {failed[1]}"
