"""A lazy table: Polars' own expressions, plus operators that are model calls."""
