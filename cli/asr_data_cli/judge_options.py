"""Options of models behind an endpoint, made from the fields of ``Judge`` and ``RequestSettings``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from asr_data.endpoints.config import EndpointModel, RequestSettings
from asr_data.errors import ConfigError
from asr_data.judging.config import Judge, load_judges
from asr_data_cli.option_groups import field_options
from asr_data_cli.setting_text import option
from asr_data_cli.settings import Checks, from_options

JUDGES = "Judges"


def model_option(kind: type[EndpointModel], panel: str, name: str, *spellings: str, **more: Any) -> Any:
    """The option of a field of a model; its default is None, so that what was typed can be told from it."""
    field = kind.model_fields[name]
    if not field.is_required() and field.default:
        more.setdefault("show_default", str(field.default))
    more.setdefault("help", field.description)
    return typer.Option(option(name), *spellings, rich_help_panel=panel, **more)


_judge = partial(model_option, Judge, JUDGES)


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """Who judges: models at one endpoint, or a file of judges."""

    endpoint: Annotated[
        str | None,
        _judge("endpoint", metavar="URL", help="OpenAI-compatible API; the key is read from OPENAI_API_KEY."),
    ] = None
    model: Annotated[
        list[str] | None, _judge("model", metavar="NAME", help="Model at the endpoint; may be repeated.")
    ] = None
    price_in: Annotated[float | None, _judge("price_in")] = None
    price_out: Annotated[float | None, _judge("price_out")] = None
    max_tokens: Annotated[int | None, _judge("max_tokens")] = None
    file: Annotated[
        Path | None,
        typer.Option(
            "--judges",
            metavar="FILE",
            help="JSON list of judges with individual endpoints, keys or settings.",
            rich_help_panel=JUDGES,
        ),
    ] = None

    def judges(self, checks: Checks, *, has_votes: bool) -> tuple[Judge, ...]:
        """The judges; none where people's votes are all that was asked for. Errors go to ``checks``."""
        judges: tuple[Judge, ...] = checks.attempt(lambda: self._judges(has_votes=has_votes), ())
        return judges

    def _judges(self, *, has_votes: bool) -> tuple[Judge, ...]:
        named = {"price_in": self.price_in, "price_out": self.price_out, "max_tokens": self.max_tokens}
        given = {name: value for name, value in named.items() if value is not None}
        is_empty = self.endpoint is None and not self.model and not given
        if self.file is not None:
            if not is_empty:
                raise ConfigError("--judges replaces --endpoint, --model, --price-in, --price-out and --max-tokens")
            return load_judges(self.file)
        if has_votes and is_empty:
            return ()
        if self.endpoint is None or not self.model:
            raise ConfigError("no judge: pass --endpoint and --model, --judges FILE, or people's votes with --votes")
        return tuple(from_options(Judge, {"model": one, "endpoint": self.endpoint, **given}) for one in self.model)


class RequestOptions:
    """An option for each field of ``RequestSettings``."""

    panel: ClassVar[str] = JUDGES

    def __init__(self, typed: Mapping[str, Any]) -> None:
        self._typed = typed

    def config(self, checks: Checks) -> RequestSettings:
        """The settings; errors go to ``checks``."""
        return checks.attempt(lambda: from_options(RequestSettings, self._typed), RequestSettings())

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """The options, made from the fields."""
        return field_options(RequestSettings, RequestSettings.model_fields, lambda _: cls.panel)
