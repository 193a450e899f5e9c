"""``--config run.yaml``: the options of a command from a file, under their own names.

The file is read before any other option, and what it says takes the place of the options' defaults: what is typed wins.
Names, types and choices are those of the command itself.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer
import yaml

from asr_data.errors import ConfigError
from asr_data.redact import without_url_secrets
from asr_data_cli.help_layout import PANELS, panel_of
from asr_data_cli.options import INPUT, OUTPUT

_APART: Final = ("config", "save", "dry_run", "help")
"""Options that say what to do with a file of options, and are not in one."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice; YAML's own rule is that the last one counts, without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} is there twice")
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


@dataclass(frozen=True, slots=True)
class OptionsFile:
    """A file of options that was read, and the SHA-256 of what stood in it."""

    path: Path
    sha256: str


class ConfigOptions:
    """``--config``."""

    def __init__(self, typed: Mapping[str, Any]) -> None:
        self._file: OptionsFile | None = typed["config"]

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the file as it stands there; None where none was named."""
        return None if self._file is None else self._file.sha256

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """The option."""
        shown = typer.Option(
            "--config",
            metavar="FILE",
            help="Take options from this YAML file, by their names; plan --save writes one. What is typed here wins.",
            rich_help_panel=INPUT,
            is_eager=True,
            callback=take_options,
        )
        kind = inspect.Parameter.KEYWORD_ONLY
        return [inspect.Parameter("config", kind, annotation=Annotated[Path | None, shown], default=None)]


def take_options(context: typer.Context, path: Path | None) -> OptionsFile | None:
    """The options in a file become the command's defaults; called before other options are read.

    Raises:
        ConfigError: the file cannot be read, is no mapping, or has a key or value that no option has.
    """
    if path is None:
        return None
    try:
        content = path.read_bytes()
        settings = yaml.load(content, _Loader)  # noqa: S506 - a subclass of SafeLoader
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"--config {path}: cannot be read: {_said(error)}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"--config {path}: expected lines of the form OPTION: VALUE")
    parameters = {_key(one): one for one in _parameters(context.command)}
    found = {str(_known(path, key, parameters).name): (parameters[key], value) for key, value in settings.items()}
    context.default_map = {
        **(context.default_map or {}),
        **{name: _value(context, path, one, value) for name, (one, value) in found.items() if value is not None},
    }
    # Of what may be published: from a hash of all, a short password could be guessed.
    public = without_url_secrets(content.decode("utf-8", "surrogateescape"))
    return OptionsFile(path, hashlib.sha256(public.encode("utf-8", "surrogateescape")).hexdigest())


def _said(error: Exception) -> str:
    """What is wrong and where, without the line itself, in which a password may stand."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


@dataclass(frozen=True, slots=True)
class SavedOptions:
    """What ``--save`` writes.

    Attributes:
        path: the file.
        text: every option that ``run`` has with its value, in the form that ``--config`` reads.
        without_input: INPUT is a URL with a user, a password or a query, in which signatures stand: it is not written.
    """

    path: Path
    text: str
    without_input: bool

    def write(self) -> None:
        """Write the file.

        Raises:
            ConfigError: there is a file of this name already, or it cannot be written.
        """
        try:
            with self.path.open("x", encoding="utf-8") as file:
                file.write(self.text)
        except FileExistsError as error:
            raise ConfigError(f"--save {self.path}: there is a file of this name already") from error
        except OSError as error:
            raise ConfigError(f"--save {self.path}: cannot be written: {error.strerror}") from error


def options_to_save(context: typer.Context, path: Path) -> SavedOptions:
    """The options as they were typed, ready to be written.

    Raises:
        ConfigError: there is a file of this name already, or an option holds a URL with a secret.
    """
    if path.exists():
        raise ConfigError(f"--save {path}: there is a file of this name already")
    if not path.parent.is_dir():
        raise ConfigError(f"--save {path}: cannot be written: there is no directory {path.parent}")
    lines = ["# Options of asr-annotate run; what is typed on the command line wins."]
    panel, without_input = "", False
    for parameter in sorted(_parameters(context.command), key=lambda one: PANELS.index(panel_of(one))):
        if panel_of(parameter) != panel:
            panel = panel_of(parameter)
            lines += ["", f"# {panel}"]
        value, name = _plain(context.params.get(str(parameter.name))), _key(parameter)
        if _has_secrets(value):
            if parameter.param_type_name != "argument":
                raise ConfigError(
                    f"--save {path}: --{name} holds a URL with a user, a password or a query, and secrets are not "
                    "written: leave it out here and type it for run"
                )
            lines.append(f"# {without_url_secrets(value)}: its user, password or query is not written; type it for run")
            value, without_input = None, True
        lines.append(yaml.safe_dump({name: value}, allow_unicode=True, width=10_000).rstrip("\n"))
    return SavedOptions(path, "\n".join(lines) + "\n", without_input)


def _has_secrets(value: Any) -> bool:
    texts = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    return any(without_url_secrets(one) != one for one in texts)


def _parameters(command: Any) -> Iterator[Any]:
    return (one for one in command.params if one.name not in _APART)


def _key(parameter: Any) -> str:
    """``batch-tokens``, or ``input`` for the argument INPUT."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar).lower()
    return str(max(parameter.opts, key=len)).removeprefix("--")


def _known(path: Path, key: Any, parameters: dict[str, Any]) -> Any:
    if str(key) in parameters:
        return parameters[str(key)]
    close = difflib.get_close_matches(str(key), list(parameters), n=1)
    meant = f"did you mean {close[0]}?" if close else f"allowed are {', '.join(parameters)}"
    raise ConfigError(f"--config {path}: there is no option {key!r}; {meant}")


def _value(context: typer.Context, path: Path, parameter: Any, value: Any) -> Any:
    """A value as the option takes it: true or false for a flag, texts for all others."""
    place = f"--config {path}: {_key(parameter)}"
    if getattr(parameter, "is_flag", False):
        if not isinstance(value, bool):
            raise ConfigError(f"{place} is {value!r}: expected true or false")
        return value
    several = parameter.param_type_name == "option" and parameter.multiple
    values = value if isinstance(value, list) and several else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str | int | float | date):
            wanted = "text or a list of texts" if several else "text or a number"
            raise ConfigError(f"{place} is {one!r}: expected {wanted} (words such as no in quotes)")
    texts = [str(one) for one in values]
    try:
        parameter.process_value(context, texts if several else texts[0])
    except typer.BadParameter as error:
        raise ConfigError(f"{place} is {value!r}: {error.message.removeprefix('Value error, ')}") from error
    return texts if several else texts[0]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value] or None
    return str(value) if isinstance(value, Path) else value


Save: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="Write these options to a file that run --config reads.",
        rich_help_panel=OUTPUT,
    ),
]
