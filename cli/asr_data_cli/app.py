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
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from asr_data.errors import AsrDataError, ConfigError
from asr_data_cli import (
    annotate,
    critique,
    demo,
    evaluate,
    export,
    filter_rows,
    inspect_rows,
    install_builtin,
    judge,
    merge,
    plan,
    push,
    query,
    report,
    scorers,
    train,
    validate,
    view,
)
from asr_data_cli.console import discard, print_error
from asr_data_cli.help_layout import Command, laid_out
from asr_data_cli.option_groups import with_options
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


def build_app() -> typer.Typer:
    """The Typer application with all its commands."""
    app = typer.Typer(
        name="asr-annotate",
        cls=Commands,
        rich_markup_mode="rich",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    epilog = ("asr-annotate demo", annotate.RUN_EXAMPLES[0], "asr-annotate inspect annotated")
    app.callback(epilog=_examples(epilog))(_program)
    made, seen, given, trained = "Annotate", "Inspect and evaluate", "Export and publish", "Reward models"
    app.command("run", epilog=_examples(annotate.RUN_EXAMPLES), rich_help_panel=made)(with_options(annotate.run))
    app.command("plan", epilog=_examples(plan.PLAN_EXAMPLES), rich_help_panel=made)(with_options(plan.plan))
    app.command("score", epilog=_examples(annotate.SCORE_EXAMPLES), rich_help_panel=made)(with_options(annotate.score))
    app.command("mask", epilog=_examples(annotate.MASK_EXAMPLES), rich_help_panel=made)(with_options(annotate.mask))
    app.command("merge", epilog=_examples(merge.MERGE_EXAMPLES), rich_help_panel=made)(merge.merge)
    app.command("filter", epilog=_examples(filter_rows.FILTER_EXAMPLES), rich_help_panel=made)(filter_rows.filter_rows)
    app.command("demo", epilog=_examples(demo.DEMO_EXAMPLES), rich_help_panel=made)(demo.demo)
    app.command("inspect", epilog=_examples(inspect_rows.INSPECT_EXAMPLES), rich_help_panel=seen)(inspect_rows.inspect)
    app.command("query", epilog=_examples(query.QUERY_EXAMPLES), rich_help_panel=seen)(query.query)
    app.command("report", epilog=_examples(report.REPORT_EXAMPLES), rich_help_panel=seen)(report.report)
    app.command("view", epilog=_examples(view.VIEW_EXAMPLES), rich_help_panel=seen)(view.view)
    app.command("validate", epilog=_examples(validate.VALIDATE_EXAMPLES), rich_help_panel=seen)(validate.validate)
    app.command("evaluate", epilog=_examples(evaluate.EVALUATE_EXAMPLES), rich_help_panel=seen)(
        with_options(evaluate.evaluate)
    )
    app.command("judge", epilog=_examples(judge.JUDGE_EXAMPLES), rich_help_panel=seen)(with_options(judge.judge))
    app.command("critique", epilog=_examples(critique.CRITIQUE_EXAMPLES), rich_help_panel=made)(
        with_options(critique.critique)
    )
    app.command("export", epilog=_examples(export.EXPORT_EXAMPLES), rich_help_panel=given)(export.export)
    app.command("push", epilog=_examples(push.PUSH_EXAMPLES), rich_help_panel=given)(push.push)
    app.command("scorers", epilog=_examples(scorers.SCORERS_EXAMPLES), rich_help_panel=trained)(scorers.scorers)
    app.command("install-builtin", epilog=_examples(install_builtin.INSTALL_EXAMPLES), rich_help_panel=trained)(
        install_builtin.install_builtin
    )
    app.command("train-scorer", epilog=_examples(train.TRAIN_EXAMPLES), rich_help_panel=trained)(
        with_options(train.train_scorer)
    )
    for one in app.registered_commands:
        one.cls = Command
    return app


def main() -> None:
    """Entry point of ``asr-annotate``."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not end a run
    code: object = 0
    try:
        build_app()()
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
