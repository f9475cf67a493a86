"""Prompts with a history: `prompt.py` the value, `history.py` the store's side, `diff.py` what
changed between two versions."""
