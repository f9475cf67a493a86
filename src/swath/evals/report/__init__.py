"""What a comparison says, to people: one HTML file, and charts for notebooks."""

from swath.evals.report.notebook import charts
from swath.evals.report.summary import summary_html
from swath.evals.report.write import write

__all__ = ["charts", "summary_html", "write"]
