"""Prompts, tried: `versions.py` two versions over the same rows, `suggest.py` the next version."""
