"""The program ``asr-annotate``: its commands, and how errors become one line and an exit code.

Exit codes: 0 done; 1 the run failed; 2 wrong usage or settings; 3 done, but rows were rejected and
``--strict`` was given; 130 stopped by Ctrl-C; 143 stopped by SIGTERM.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from asr_data.errors import AsrDataError, ConfigError
from asr_data_cli.console import discard, print_error
from asr_data_cli.grouping import with_options
from asr_data_cli.help_layout import Command, laid_out
from asr_data_cli.stopping import INTERRUPTED, TERMINATED, Terminated, leave_at_once, terminable

FAILED = 1
WRONG_USAGE = 2
_RESUMED = (
    "The unfinished shard is discarded, finished ones are kept: the same command continues, with or without --resume."
)
_HINTS = {
    **dict.fromkeys(("run", "score", "mask", "merge", "filter"), _RESUMED),
    "judge": "Every verdict so far is kept: the same command continues from there.",
    "critique": "Every critique so far is kept: the same command continues from there.",
}

_MADE, _SEEN, _GIVEN, _TRAINED = "Annotate", "Inspect and evaluate", "Export and publish", "Reward models"
_COMMANDS: Final = {
    "run": ("annotate:run:RUN_EXAMPLES", _MADE),
    "plan": ("plan:plan:PLAN_EXAMPLES", _MADE),
    "score": ("annotate:score:SCORE_EXAMPLES", _MADE),
    "mask": ("annotate:mask:MASK_EXAMPLES", _MADE),
    "merge": ("merge:merge:MERGE_EXAMPLES", _MADE),
    "filter": ("filter_rows:filter_rows:FILTER_EXAMPLES", _MADE),
    "demo": ("demo:demo:DEMO_EXAMPLES", _MADE),
    "inspect": ("inspect_rows:inspect:INSPECT_EXAMPLES", _SEEN),
    "query": ("query:query:QUERY_EXAMPLES", _SEEN),
    "report": ("report:report:REPORT_EXAMPLES", _SEEN),
    "view": ("view:view:VIEW_EXAMPLES", _SEEN),
    "validate": ("validate:validate:VALIDATE_EXAMPLES", _SEEN),
    "evaluate": ("evaluate:evaluate:EVALUATE_EXAMPLES", _SEEN),
    "judge": ("judge:judge:JUDGE_EXAMPLES", _SEEN),
    "critique": ("critique:critique:CRITIQUE_EXAMPLES", _MADE),
    "export": ("export:export:EXPORT_EXAMPLES", _GIVEN),
    "push": ("push:push:PUSH_EXAMPLES", _GIVEN),
    "scorers": ("scorers:scorers:SCORERS_EXAMPLES", _TRAINED),
    "install-builtin": ("install_builtin:install_builtin:INSTALL_EXAMPLES", _TRAINED),
    "train-scorer": ("train:train_scorer:TRAIN_EXAMPLES", _TRAINED),
}
"""Name → module, its function and its examples; the panel of the help. A module is imported for its command alone."""

_EXAMPLES = ("asr-annotate demo", "asr-annotate run pairs.jsonl -o annotated", "asr-annotate inspect annotated")


class Commands(TyperGroup):
    """Runs a command; what it raises becomes one red line and an exit code, a traceback with ``--debug``."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The program's own options as they are shown."""
        return laid_out(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Invoke the command given."""
        try:
            with terminable():
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise  # Typer prints these itself
        except KeyboardInterrupt as error:
            terminated = isinstance(error, Terminated)
            hint = _HINTS.get(ctx.invoked_subcommand)
            print_error("stopped by SIGTERM" if terminated else "stopped by Ctrl-C", hint=hint)
            raise typer.Exit(TERMINATED if terminated else INTERRUPTED) from error
        except AsrDataError as error:
            if ctx.params.get("debug"):
                raise
            print_error(str(error))
            raise typer.Exit(WRONG_USAGE if isinstance(error, ConfigError) else FAILED) from error
        except OSError as error:
            if ctx.params.get("debug"):
                raise
            _print_os_error(error)
            raise typer.Exit(FAILED) from error
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            print_error(
                f"{type(error).__name__}: {error}",
                hint="This is a bug in asr-data. For the traceback: asr-annotate --debug COMMAND …",
            )
            raise typer.Exit(FAILED) from error


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"asr-annotate {version('asr-data')}")
        raise typer.Exit


def _program(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Score preference data with a reward model, cut responses into segments, and write training masks.

    Exit codes: 0 done; 1 the run failed; 2 wrong usage or settings; 3 done, but rows were rejected and
    --strict was given; 130 stopped by Ctrl-C; 143 stopped by SIGTERM.
    """


def _examples(commands: Sequence[str]) -> str:
    # An empty line is Typer's line break. A bracket would be markup, and no example holds one.
    return "\n\n".join(["[bold]Examples[/bold]", *commands])


def build_app(only: str | None = None) -> typer.Typer:
    """The Typer application with all its commands, or with one of them: other commands' modules are not imported."""
    app = typer.Typer(
        name="asr-annotate",
        cls=Commands,
        rich_markup_mode="rich",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(epilog=_examples(_EXAMPLES))(_program)
    for name, (place, panel) in _COMMANDS.items():
        if only in (None, name):
            module_name, function, examples = place.split(":")
            module = import_module(f"asr_data_cli.{module_name}")
            shown = _examples(getattr(module, examples))
            command = with_options(getattr(module, function))
            app.command(name, cls=Command, epilog=shown, rich_help_panel=panel)(command)
    return app


def _named(words: Sequence[str]) -> str | None:
    """The command among the words typed (the program's own options take none); None where help or an error is due."""
    first = next((word for word in words if not word.startswith("-")), None)
    return first if first in _COMMANDS else None


def main() -> None:
    """Entry point of ``asr-annotate``."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not end a run
    code: object = 0
    try:
        build_app(_named(sys.argv[1:]))()
    except SystemExit as error:
        code = error.code
    except OSError as error:  # from the help text, which no command prints
        _print_os_error(error)
        code = FAILED
    try:
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout)
        if code == 0:
            _print_os_error(error)
            code = FAILED
    leave_at_once(code)
    sys.exit(code if isinstance(code, int) else FAILED)


def _open_standard_streams() -> None:
    """Give standard streams that were closed somewhere to go: their numbers would be those of the next files."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(nowhere := os.open(os.devnull, os.O_RDWR), number)
            if nowhere != number:
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _print_os_error(error: OSError) -> None:
    """The system's own words; a pipe that was closed and a full disk are no bugs."""
    if error.errno == errno.EPIPE:
        message = "standard output was closed before everything was written"
    elif error.filename is None:
        message = f"output cannot be written: {error.strerror or error}"
    else:
        message = f"{error.filename}: {error.strerror}"
    with suppress(OSError):  # standard error can be the same closed pipe
        print_error(message)
