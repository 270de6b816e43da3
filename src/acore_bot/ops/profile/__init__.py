"""Where the time and the memory go, in a running bot or in a command: what `acore profile` does.

A bot holds a door open (`door`) at which the owner's command asks (`caller`); what has to happen
within the bot's process stands in `inside` and `tasks`. A command is started through `runner`.
Recordings become one kind of table (`reading`, `table`).
"""
