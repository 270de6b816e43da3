"""Writes acore.example.toml from the settings in the code.

Run: uv run python scripts/write_example_config.py
"""

from pathlib import Path

from acore_bot.config import example_toml

if __name__ == "__main__":
    file = Path(__file__).parent.parent / "acore.example.toml"
    file.write_text(example_toml(), encoding="utf-8")
