"""The door: `acore`, or `python -m acore_bot`."""

from acore_bot.cli import main

if __name__ == "__main__":
    main()
