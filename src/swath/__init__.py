"""Swath."""
