"""What critics are asked: the faults of every response, and once more for quotes that cannot be placed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from asr_data.critique.config import CritiqueSettings
from asr_data.critique.journal import Critique, Fault, Key, Unplaced
from asr_data.critique.locate import Claim, Failure, Quotable, Span, locate
from asr_data.critique.prompt import FAULTS_SCHEMA, QUOTES_SCHEMA, messages, quotes_again
from asr_data.critique.reply import Claimed, read_faults, read_quotes
from asr_data.critique.responses import Response, Responses
from asr_data.endpoints.client import Client, Exchange, ReplyForm, RequestFailedError
from asr_data.types import RejectedRow

FAULTS: Final = ReplyForm("faults", FAULTS_SCHEMA, read_faults)


@dataclass(frozen=True, slots=True)
class Placed:
    """A critic's faults in a response.

    Attributes:
        faults: in the order of the response.
        unplaced: those whose quotes could not be placed.
        asked_again: number of quotes that were asked for once more.
    """

    faults: tuple[Fault, ...]
    unplaced: tuple[Unplaced, ...]
    asked_again: int


@dataclass(frozen=True, slots=True)
class CritiqueTask:
    """One critique to ask for; see :class:`asr_data.endpoints.session.Task`."""

    response: Response
    client: Client
    sample: int
    settings: CritiqueSettings

    @property
    def key(self) -> Key:
        """Row, side, critic and sample."""
        return self.response.row, self.response.side, self.client.model.title, self.sample

    @property
    def row(self) -> int:
        """The input row."""
        return self.response.row

    async def ask(self) -> Exchange[Placed]:
        """Ask for the faults, then once for the quotes that could not be placed."""
        response, settings = self.response, self.settings
        asked = messages(
            response.prompt,
            response.text,
            response.better,
            settings.rubric,
            system_role=self.client.model.system_role,
        )
        seed = settings.seed_of(self.sample)
        first = await self.client.ask(asked, FAULTS, seed=seed)
        if first.answer is None:
            return first.with_answer(None)
        text = Quotable(response.text)
        claims = first.answer
        spans = locate(text, [Claim(one.quote, one.context) for one in claims])
        open_ = [place for place, span in enumerate(spans) if isinstance(span, str)]
        if not open_:
            return first.with_answer(_placed(claims, spans, 0))
        second = await self._ask_again(asked, [(claims[place], spans[place]) for place in open_], seed)
        for place, quote in zip(open_, second.answer or (), strict=False):
            spans[place] = _second_span(text, claims[place], quote, spans[place])
        return Exchange(
            answer=_placed(claims, spans, len(open_)),
            attempts=first.attempts + second.attempts,
            tokens_in=first.tokens_in + second.tokens_in,
            tokens_out=first.tokens_out + second.tokens_out,
        )

    async def _ask_again(
        self, asked: list[dict[str, str]], failed: Sequence[tuple[Claimed, Any]], seed: int | None
    ) -> Exchange[tuple[str, ...]]:
        quotes = [(claim.quote, claim.reason, why) for claim, why in failed]
        form = ReplyForm("quotes", QUOTES_SCHEMA, partial(read_quotes, len(quotes)))
        try:
            return await self.client.ask(quotes_again(asked, quotes), form, attempts=1, seed=seed)
        except RequestFailedError as failure:
            if failure.is_too_long:  # the first answer stands
                return Exchange(attempts=1)
            raise

    def entry(self, exchange: Exchange[Any]) -> Critique:
        """The critique, or why it is missing."""
        placed: Placed | None = exchange.answer
        model = self.client.model
        return Critique(
            row=self.response.row,
            side=self.response.side,
            critic=model.title,
            sample=self.sample,
            faults=None if placed is None else placed.faults,
            unplaced=() if placed is None else placed.unplaced,
            asked_again=0 if placed is None else placed.asked_again,
            problem=exchange.problem,
            refused=exchange.is_refused,
            reply=exchange.reply,
            response_format=self.client.response_format if model.response_format == "auto" else None,
            attempts=exchange.attempts,
            tokens_in=exchange.tokens_in,
            tokens_out=exchange.tokens_out,
        )


def tasks(responses: Responses, clients: Mapping[str, Client]) -> Iterator[CritiqueTask]:
    """Every critique of a run; a response that stands in the data more than once is asked about once."""
    for row in responses:
        if isinstance(row, RejectedRow):
            continue
        for response in row.responses:
            if response.first != (response.row, response.side):
                continue
            for client in clients.values():
                for sample in range(responses.settings.samples):
                    yield CritiqueTask(response, client, sample, responses.settings)


def _second_span(text: Quotable, claim: Claimed, quote: str, why: Span | Failure) -> Span | Failure:
    """The span of a quote given for the second time. Where the first was ambiguous, the second may hold it once."""
    spans = text.occurrences(quote)
    if len(spans) != 1:
        return "ambiguous" if spans else why
    start, end = spans[0]
    if why == "ambiguous":
        inside = [span for span in text.occurrences(claim.quote) if start <= span[0] and span[1] <= end]
        if len(inside) == 1:
            return inside[0]
    return spans[0]


def _placed(claims: Sequence[Claimed], spans: Sequence[Span | Failure], asked_again: int) -> Placed:
    faults: list[Fault] = []
    unplaced: list[Unplaced] = []
    for claim, span in zip(claims, spans, strict=True):
        said: dict[str, Any] = {"kind": claim.kind, "severity": claim.severity, "reason": claim.reason}
        if isinstance(span, str):
            unplaced.append(Unplaced(quote=claim.shown, why=span, **said))
        else:
            faults.append(Fault(start=span[0], end=span[1], **said))
    return Placed(tuple(sorted(faults, key=lambda fault: (fault.start, fault.end))), tuple(unplaced), asked_again)
