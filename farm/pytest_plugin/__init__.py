"""pytest plugin: fixtures, markers, collection and verdicts for suites that run on boards."""
