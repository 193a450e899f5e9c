"""What the page asks of the server."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from asr_data.labelling.journal import Severity
from asr_data.view.server.queue import Order
from asr_data.view.server.table import Filter

MOST_ROWS: Final = 50
"""Rows of a page."""


class Asked(BaseModel):
    """Base of what the page's script sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RowsAsked(Asked):
    """A page of rows: ``count`` of those that are meant, from the ``offset``-th on; or the page with an input row,
    where that is several rows with its first pair, or this one."""

    filter: Filter = Filter()
    offset: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 20
    row: Annotated[int, Field(ge=0, lt=2**42)] | None = None
    pair: Annotated[int, Field(ge=0, lt=2**20)] | None = None


class ReadyAsked(Asked):
    """What is there by now: tokenizers, and what draws charts. Answered when more is there, or after a moment."""

    ready: bool = False
    charts: bool = False


class SettingsAsked(Asked):
    """Settings that are tried, as JSON; what is left out is as usual."""

    settings: dict[str, Any]


class MasksAsked(SettingsAsked):
    """Masks at these settings for the rows at some positions; with token rewards where they may have changed."""

    positions: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MOST_ROWS)]
    rewards: bool = True


class FiguresAsked(SettingsAsked):
    """Figures at these settings; against the labels of this page even where the input has its own."""

    own_labels: bool = False


class KeepAsked(SettingsAsked):
    """Settings to be written; over what is there where ``replace`` says so."""

    replace: bool = False


class TabAsked(Asked):
    """A tab that labels, by a name that it made up."""

    tab: Annotated[str, Field(min_length=8, max_length=64)]


class NextAsked(TabAsked):
    """The next response, in an order."""

    order: Order = "disagreement"


class BackAsked(TabAsked):
    """The response that was judged before another one; or last."""

    position: Annotated[int, Field(ge=0)] | None = None
    side: Annotated[int, Field(ge=0, le=1)] = 0


class MarkAsked(Asked):
    """A fault, from one unit of the response to another."""

    first: Annotated[int, Field(ge=0)]
    last: Annotated[int, Field(ge=0)]
    type: Annotated[str, Field(min_length=1, max_length=60)]
    severity: Severity


class SaveAsked(TabAsked):
    """What a person did with a response."""

    position: Annotated[int, Field(ge=0)]
    side: Annotated[int, Field(ge=0, le=1)]
    marks: Annotated[list[MarkAsked], Field(max_length=1_000)]
    status: Literal["open", "done", "skipped"]
    order: Literal["disagreement", "chance", "hand"] = "hand"
    blind: bool = True
    seconds: Annotated[float, Field(ge=0, le=1e7)] = 0.0
