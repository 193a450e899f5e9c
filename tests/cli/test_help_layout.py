"""What every command's help looks like."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from asr_data_cli.app import build_app
from asr_data_cli.help_layout import PANELS

GROUP: Any = typer.main.get_command(build_app())


@pytest.mark.parametrize("command", [[], *([name] for name in GROUP.commands)], ids=" ".join)
def test_panels_follow_the_data_and_no_python_type_is_shown(command: list[str]) -> None:
    result = CliRunner().invoke(build_app(), [*command, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    panels = [title for title in re.findall(r"╭─ ([^─]+) ─", result.stdout) if title in PANELS]
    assert panels == sorted(panels, key=PANELS.index)
    assert not re.search(r"<(bool|int|float|str|path)", result.stdout)


@pytest.mark.parametrize("name", GROUP.commands)
def test_nothing_is_cut_at_80_columns(name: str) -> None:
    shown = CliRunner().invoke(build_app(), [name, "--help"], env={"COLUMNS": "80"}).stdout
    assert max(map(len, shown.splitlines())) <= 80
    command = GROUP.commands[name]
    written = [command.help, command.epilog]
    for one in command.get_params(typer.Context(command)):
        typed = one.metavar.replace("|", " | ").split()
        if one.param_type_name == "argument":
            typed = [word.removesuffix("…") if one.nargs != 1 else word for word in typed]
            assert shown.count("…...") == 0
        elif one.secondary_opts:
            typed.append(f"--[no-]{one.opts[-1].removeprefix('--')}")
        else:
            typed += one.opts
        for word in typed:
            assert word in shown
        written += [one.help, *typed, one.show_default]
        if one.param_type_name == "argument":
            written += typed  # in the usage line, too
    # An ellipsis that no text has would stand for something that was cut.
    assert shown.count("…") == sum(str(text).count("…") for text in written)


def test_a_flag_of_two_names_says_what_it_is_in_words() -> None:
    shown = CliRunner().invoke(build_app(), ["critique", "--help"], env={"COLUMNS": "80"}).stdout
    assert re.search(r"--\[no-\]better-answer\s+Show the chosen answer", shown)
    assert "[default: (yes)]" in shown
    # What is parsed are both names.
    assert {"--better-answer", "--no-better-answer"} <= {
        opt for one in GROUP.commands["critique"].params for opt in (*one.opts, *one.secondary_opts)
    }


def test_what_is_typed_after_an_option() -> None:
    shown = CliRunner().invoke(build_app(), ["run", "--help"], env={"COLUMNS": "200"}).stdout
    for option, typed in (("--split", "TEXT"), ("--shard-rows", r"N \[x>=1\]"), ("--overwrite", "Delete an earlier")):
        assert re.search(rf"{option}\s+{typed}", shown)
