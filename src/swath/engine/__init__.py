"""The journey of one call, as stages around each other. `Engine` is the only door."""

from swath.engine.engine import Engine, Estimate
from swath.engine.run import Metrics, ModelMetrics, Run
from swath.engine.shape import Invalid

__all__ = ["Engine", "Estimate", "Invalid", "Metrics", "ModelMetrics", "Run"]
