"""`acore setup`: from nothing to a settings file."""

import typer


def setup(context: typer.Context) -> None:
    """Ask what is needed, try it, and write the settings file."""
