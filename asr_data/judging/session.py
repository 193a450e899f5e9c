"""What judges are asked: every pair, in both orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from asr_data.endpoints.client import Client, Exchange, ReplyForm
from asr_data.judging.journal import Key, Verdict
from asr_data.judging.pairs import Pair, Pairs
from asr_data.judging.prompt import VERDICT_SCHEMA
from asr_data.judging.verdict import ORDERS, Opinion, Order, read_reply, without_secrets
from asr_data.types import RejectedRow


class Prompt(Protocol):
    """Makes the messages of a request, as :func:`asr_data.judging.prompt.messages` does."""

    def __call__(
        self, request: str, answer_a: str, answer_b: str, reference: str | None = None, *, system_role: bool = True
    ) -> list[dict[str, str]]:
        """The messages that ask for one verdict."""


@dataclass(frozen=True, slots=True)
class VerdictTask:
    """One verdict to ask for; see :class:`asr_data.endpoints.session.Task`."""

    pair: Pair
    client: Client
    order: Order
    prompt: Prompt

    @property
    def key(self) -> Key:
        """Row, judge and order."""
        return self.pair.index, self.client.model.title, self.order

    @property
    def row(self) -> int:
        """The input row."""
        return self.pair.index

    async def ask(self) -> Exchange[Opinion]:
        """Ask for the verdict."""
        pair = self.pair
        shown = (pair.first, pair.second) if self.order == "as_given" else (pair.second, pair.first)
        messages = self.prompt(pair.prompt, *shown, pair.reference, system_role=self.client.model.system_role)
        return await self.client.ask(messages, ReplyForm("verdict", VERDICT_SCHEMA, partial(_read, self.order)))

    def entry(self, exchange: Exchange[Any]) -> Verdict:
        """The verdict, or why it is missing."""
        opinion = exchange.answer
        said: dict[str, Any] = {}
        if opinion is not None:
            said = {"verdict": opinion.verdict, "reason": opinion.reason, "tags": opinion.tags, **opinion.criteria}
        return Verdict(
            row=self.pair.index,
            judge=self.client.model.title,
            order=self.order,
            problem=exchange.problem,
            reply=exchange.reply,
            attempts=exchange.attempts,
            tokens_in=exchange.tokens_in,
            tokens_out=exchange.tokens_out,
            **said,
        )


def tasks(pairs: Pairs, clients: Mapping[str, Client], prompt: Prompt) -> Iterator[VerdictTask]:
    """Every verdict of a run. Identical answers are a tie, and no judge is asked."""
    for pair in pairs:
        if isinstance(pair, RejectedRow) or pair.is_identical:
            continue
        for client in clients.values():
            for order in ORDERS:
                yield VerdictTask(pair, client, order, prompt)


def _read(order: Order, reply: str, redacted: Callable[[str], str]) -> Opinion:
    return without_secrets(read_reply(reply, order), redacted)
