"""Markdown in pieces: whole previews of a text that grows, and parts of it that fit a message.

A part is a slice of the text, with what has to be reopened before it and closed after it, such as
a code block. So joined slices are the text, and yet each part stands for itself.

One scan reads a slice as chat programs do, and lists the places where it may end: how good each is,
and what is open there. A cut takes the best place, a preview the last that fits. A scan never sees
more than one part and a little beyond it, and no expression that it uses can look far or twice, so
the work is bounded whatever a model writes.
"""

from acore_bot.chat.markdown.pages import Pages, Part, length

__all__ = ["Pages", "Part", "length"]
