"""How quick the farm is, beside what it is compared with: ``make bench``.

Each module measures one thing in a function ``measure(bench)``; docs/benchmarks.md says what the
figures mean.
"""
