"""What a comparison says, to people: one HTML file, and charts for notebooks."""

from swath.evals.report.summary import summary_html
from swath.evals.report.write import write

__all__ = ["summary_html", "write"]
