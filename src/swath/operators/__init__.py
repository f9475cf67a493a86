"""Operators: immutable values that stand for a model call per row. One file each.

Adding one is a new file with a subclass of `base.Operator`, and its test: the plan, the optimizer
and the executor know an operator only by what `base` declares.
"""
