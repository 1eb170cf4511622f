"""Sub-commands of the command: for people and scripts at the terminal."""

from __future__ import annotations

import click

COMMANDS: dict[str, click.Command] = {}
