"""Figures of a critique: what was found, what could not be placed, what is unknown, and how far critics agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from asr_data.critique.config import Critic
from asr_data.critique.journal import Critique, Fault
from asr_data.critique.responses import Response
from asr_data.critique.votes import ErrorSpan
from asr_data.types import Bool, Side


@dataclass(slots=True)
class SideFigures:
    """Figures of one side.

    Attributes:
        responses: responses that were reviewed.
        known: those of which at least one critique is usable.
        nothing_wrong: known ones without an error span.
        spans: error spans.
        characters: characters of known responses, white space left out.
        marked: those of them in error spans.
        kinds: kind to number of error spans.
    """

    responses: int = 0
    known: int = 0
    nothing_wrong: int = 0
    spans: int = 0
    characters: int = 0
    marked: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    @property
    def spans_per_response(self) -> float | None:
        """Error spans per known response."""
        return self.spans / self.known if self.known else None

    @property
    def marked_share(self) -> float | None:
        """Share of the characters of known responses in error spans."""
        return self.marked / self.characters if self.characters else None


@dataclass(slots=True)
class CriticFigures:
    """Figures of one critic, over all its samples. A response that occurs more than once counts once.

    Attributes:
        critic: its name.
        response_format: what its server was asked for; None where nothing was asked.
        critiques: usable critiques.
        missing: critiques that are missing, refusals among them.
        refused: refusals.
        nothing_wrong: usable critiques without a fault.
        faults: faults that were placed.
        asked_again: quotes that were asked for once more.
        not_found, ambiguous: quotes that could not be placed even then.
        requests: all of them, without retries of failed ones.
        tokens_in, tokens_out: as counted by the server.
        cost: None if the critic has no prices.
    """

    critic: str
    response_format: str | None = None
    critiques: int = 0
    missing: int = 0
    refused: int = 0
    nothing_wrong: int = 0
    faults: int = 0
    asked_again: int = 0
    not_found: int = 0
    ambiguous: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None

    def add(self, critique: Critique) -> None:
        """Count one critique."""
        self.requests += critique.attempts
        self.tokens_in += critique.tokens_in
        self.tokens_out += critique.tokens_out
        self.response_format = critique.response_format or self.response_format
        if critique.faults is None:
            self.missing += 1
            self.refused += critique.refused
            return
        self.critiques += 1
        self.nothing_wrong += not critique.faults and not critique.unplaced
        self.faults += len(critique.faults)
        self.asked_again += critique.asked_again
        self.not_found += sum(one.why == "not_found" for one in critique.unplaced)
        self.ambiguous += sum(one.why == "ambiguous" for one in critique.unplaced)


@dataclass(slots=True)
class CriticAgreement:
    """Agreement of two voters on characters of responses that both reviewed, white space left out.

    Attributes:
        who: their names.
        both, first, second, neither: characters that both mark, one of them, or none.
    """

    who: tuple[str, str]
    both: int = 0
    first: int = 0
    second: int = 0
    neither: int = 0

    @property
    def characters(self) -> int:
        """All of them."""
        return self.both + self.first + self.second + self.neither

    @property
    def f1(self) -> float | None:
        """F1 of the marked characters of one against the other's; None where nobody marks any."""
        marked = 2 * self.both + self.first + self.second
        return 2 * self.both / marked if marked else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa, 0 for chance agreement; None where agreement by chance is certain."""
        count = self.characters
        if not count:
            return None
        a, b = (self.both + self.first) / count, (self.both + self.second) / count
        chance = a * b + (1 - a) * (1 - b)
        return None if chance == 1 else ((self.both + self.neither) / count - chance) / (1 - chance)


class Figures:
    """All figures of a run; they grow with every response.

    Args:
        critics: the models that are asked.
        samples: critiques that each gives of a response.
        sides: the sides that are reviewed.

    Attributes:
        rows: rows in the output.
        rejected: reason code to number of rows that are not.
        repeated: responses that stand in the data before, and are asked about there.
        empty: responses without contents, such as tool calls alone, which are not reviewed.
        sides: figures by side.
        critics: figures by critic, in order.
        agreement: of every two voters, critics or their samples.
    """

    def __init__(self, critics: Sequence[Critic], samples: int, sides: Sequence[Side]) -> None:
        self.rows = self.repeated = self.empty = 0
        self.rejected: dict[str, int] = {}
        self.sides = {side: SideFigures() for side in sides}
        self.critics = {critic.title: CriticFigures(critic.title) for critic in critics}
        self._models = {critic.title: critic for critic in critics}
        names = [voter(critic.title, sample, samples) for critic in critics for sample in range(samples)]
        self.agreement = [CriticAgreement(pair) for pair in combinations(names, 2)]

    def add(self, response: Response, critiques: Sequence[Critique], spans: Sequence[ErrorSpan] | None) -> None:
        """Count one response.

        Args:
            response: the response.
            critiques: of every critic and sample, in order.
            spans: its error spans; None where no critique is usable.
        """
        side = self.sides[response.side]
        side.responses += 1
        visible = np.array([not character.isspace() for character in response.text])
        if spans is not None:
            side.known += 1
            side.nothing_wrong += not spans
            side.spans += len(spans)
            side.characters += int(visible.sum())
            side.marked += int((visible & _covered(spans, len(visible))).sum())
            for span in spans:
                side.kinds[span.kind] = side.kinds.get(span.kind, 0) + 1
        if response.first != (response.row, response.side):
            self.repeated += 1
            return
        for critique in critiques:
            figures = self.critics[critique.critic]
            figures.add(critique)
            figures.cost = self._models[critique.critic].cost(figures.tokens_in, figures.tokens_out)
        masks = [None if one.faults is None else _covered(one.faults, len(visible))[visible] for one in critiques]
        for pair, (a, b) in zip(self.agreement, combinations(masks, 2), strict=True):
            if a is not None and b is not None:
                pair.both += int((a & b).sum())
                pair.first += int((a & ~b).sum())
                pair.second += int((~a & b).sum())
                pair.neither += int((~a & ~b).sum())

    @property
    def missing(self) -> int:
        """Critiques that are missing."""
        return sum(critic.missing for critic in self.critics.values())

    @property
    def cost(self) -> float | None:
        """Of all critiques; None where a critic has no prices."""
        costs = [critic.cost for critic in self.critics.values()]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def voter(critic: str, sample: int, samples: int) -> str:
    """A critic's name, and the number of the sample where there are several."""
    return critic if samples == 1 else f"{critic} #{sample + 1}"


def _covered(spans: Sequence[Fault | ErrorSpan], length: int) -> Bool:
    """bool ``[length]``: whether a span covers the character."""
    covered = np.zeros(length, dtype=bool)
    for span in spans:
        covered[span.start : span.end] = True
    return covered


def as_record(found: Figures) -> Mapping[str, object]:
    """The figures for ``critique.json``."""
    return {
        "rows": found.rows,
        "rejected": found.rejected,
        "repeated_responses": found.repeated,
        "empty_responses": found.empty,
        "sides": {
            side: {
                **{name: getattr(one, name) for name in SideFigures.__slots__},
                "kinds": dict(sorted(one.kinds.items())),
                "spans_per_response": one.spans_per_response,
                "marked_share": one.marked_share,
            }
            for side, one in found.sides.items()
        },
        "critics": [{name: getattr(one, name) for name in CriticFigures.__slots__} for one in found.critics.values()],
        "agreement": [
            {"who": list(one.who), "characters": one.characters, "f1": one.f1, "kappa": one.kappa}
            for one in found.agreement
        ],
        "cost": found.cost,
    }
