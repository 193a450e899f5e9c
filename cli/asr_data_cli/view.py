"""``view``: annotated directories as a page in the browser."""

from __future__ import annotations

import getpass
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from asr_data_cli.console import print_warning, standard_output
from asr_data_cli.inspect_rows import SHOW, Gold
from asr_data_cli.options import INPUT, OUTPUT
from asr_data_cli.setting_text import mask_text

SERVER = "Server"

VIEW_EXAMPLES = (
    "asr-annotate view annotated",
    "asr-annotate view annotated annotated-schmitt --port 8000",
    "asr-annotate view annotated --gold rejected=fault_spans --open",
)


def view(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR…",
            help="An annotated directory; several of the same input are shown side by side.",
            show_default=False,
        ),
    ],
    gold: Gold = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            help="The policy's tokenizer, a directory, a Hub id or builtin; none tints whole segments.",
            rich_help_panel=INPUT,
            show_default="the one that the masks were made with",
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.", rich_help_panel=SHOW)
    ] = False,
    settings_file: Annotated[
        Path,
        typer.Option(
            "--settings-file",
            metavar="FILE",
            help="Where settings that are kept on the page go.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("run.yaml"),
    labels: Annotated[
        Path,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="Journal that labels are appended to, for `evaluate --gold` and `train-scorer`; made with the first.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("labels.jsonl"),
    annotator: Annotated[
        str | None,
        typer.Option(
            "--annotator",
            metavar="NAME",
            help="Who labels, as the journal says it.",
            rich_help_panel=OUTPUT,
            show_default="the login name",
        ),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            metavar="KIND,…",
            help="Kinds of faults; usually factual, reasoning, instruction, irrelevant, unsafe, language, other.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, help="Port to serve at.", rich_help_panel=SERVER, show_default="a free one"
        ),
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to serve at; with another than loopback, everybody who can reach it and has the address "
            "printed sees the data.",
            rich_help_panel=SERVER,
        ),
    ] = "127.0.0.1",
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A further name that the browser calls this machine by; may be repeated.",
            rich_help_panel=SERVER,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve a page to look at rows, choose settings and label faults, on this machine alone."""
    from asr_data.view.server.keep import SettingsFile
    from asr_data.view.server.labels import KINDS, LabelSettings
    from asr_data.view.server.security import is_loopback
    from asr_data.view.server.serve import serve

    console = standard_output()
    if not is_loopback(host):
        print_warning(f"--host {host}: the page, with its data, can be reached from other machines")

    def ready(address: str) -> None:
        console.print(f"{address}\nCtrl-C ends it.", markup=False, soft_wrap=True)
        if open_browser:
            webbrowser.open(address)

    serve(
        directories,
        host=host,
        port=port,
        hosts=hosts or (),
        tokenizer=tokenizer,
        gold=gold,
        keeping=SettingsFile(settings_file, mask_text),
        labelling=LabelSettings(
            labels,
            _login_name() if annotator is None else annotator,
            KINDS if kinds is None else tuple(kind.strip() for kind in kinds.split(",")),
        ),
        ready=ready,
    )


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "anonymous"
