"""Files that strangers sent: what they say or show, within limits, and nothing else of them.

reader        Reader: which kind it is, and what is told of it    (read first)
├── kinds         what a file is, by its bytes
├── text          text and code, of which only the head is looked at
└── process       the parent's side: one child a file, killed in time, always reaped
    └── child         the child's side: PDF and pictures are opened here only
"""

from acore_bot.files.reader import Reader, ReadLimits

__all__ = ["ReadLimits", "Reader"]
