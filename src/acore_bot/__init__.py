"""An AI chat bot, local first: a message becomes an answer, on Discord or in a terminal."""
