"""Reading data files: one JSON object a line or one JSON array, plain, .gz or .zst, in constant memory.

To add a format: one function, and one line in OPENERS.
"""

from __future__ import annotations
