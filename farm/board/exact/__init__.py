"""Boards without a network that do the same in every boot: a boot for each case.

See ``docs/exact.md`` for what their numbers mean.
"""
