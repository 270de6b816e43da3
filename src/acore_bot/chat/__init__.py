"""The core: the way of a message from being heard to being answered."""
