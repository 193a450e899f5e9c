from __future__ import annotations

import re
from pathlib import Path

import typer

from asr_data_cli.app import build_app
from asr_data_cli.reference import reference
from asr_data_cli.settings import segmenter_options
from asr_data_cli.settings_tables import settings_tables, with_tables

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
SEGMENTS = PAGE.with_name("segments.md")


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python -m asr_data_cli.reference > docs/commands.md"


def test_the_tables_of_settings_are_what_the_settings_say() -> None:
    page = SEGMENTS.read_text(encoding="utf-8")
    assert len(re.findall("<!-- table: ", page)) == len(settings_tables())
    assert page == with_tables(page), "run: python -m asr_data_cli.settings_tables docs/segments.md"
    assert all(f"`--{name.replace('_', '-')} " in page for name in segmenter_options())


def test_every_parameter_has_help() -> None:
    group = typer.main.get_command(build_app())
    missing = [
        (name, parameter.name)
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        for parameter in command.params
        if not parameter.help
    ]
    assert missing == []
