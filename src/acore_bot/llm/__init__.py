"""Coats for any chat model: each has the shape of what it covers."""
