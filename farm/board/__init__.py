"""One board: labgrid drivers and strategy, console recorder, payload channel, session."""
