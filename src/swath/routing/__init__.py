"""Routing: the cheapest model that is good enough, learned and measured."""
