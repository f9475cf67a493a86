"""Models: what a name in the config stands for, what it costs, how much it can read."""

from swath.catalog.model import Model, Price, Secret

__all__ = ["Model", "Price", "Secret"]
