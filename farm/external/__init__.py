"""Other people's test programs: what they print, and what of it is expected. No I/O but lists."""
