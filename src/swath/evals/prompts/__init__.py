"""Prompts with a history: versions, what changed, which answers came from which, and the next one.

`prompt.py` the value, `history.py` the store's side, `diff.py` what changed, `versions.py` two
versions over the same rows, `suggest.py` the next version.
"""

from __future__ import annotations
