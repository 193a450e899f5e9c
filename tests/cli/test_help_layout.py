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
    # Nothing is cut but the second name of a long flag: every other ellipsis is one that the text itself has.
    assert result.stdout.count("…") == len(re.findall(r"(?<=[,.= (])…|[A-Z]…|--no-[a-z-]+…", result.stdout))


def test_what_is_typed_after_an_option() -> None:
    shown = CliRunner().invoke(build_app(), ["run", "--help"], env={"COLUMNS": "200"}).stdout
    for option, typed in (("--split", "TEXT"), ("--shard-rows", r"N \[x>=1\]"), ("--overwrite", "Delete an earlier")):
        assert re.search(rf"{option}\s+{typed}", shown)
