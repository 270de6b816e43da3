"""Profiles the running bot or a command: the same as `acore profile`.

Run: uv run python scripts/profile_performance.py --mode guide
"""

import typer

from acore_bot.cli.profile import profile

if __name__ == "__main__":
    typer.run(profile)
