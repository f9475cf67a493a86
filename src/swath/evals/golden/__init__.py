"""Golden sets: rows with known answers, and checks that an operator must pass on them.

golden.toml ─▶ read.py ─▶ Suite ─▶ run.py ─▶ Report ─▶ terminal, JSON, JUnit
                          checks.py, asked.py: a score and a reason for each row
                          regress.py: worse than before, or just noise?
"""

from __future__ import annotations
