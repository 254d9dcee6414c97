"""Hardware-in-the-loop test farm for Linux buffer sharing on ARM boards."""

__version__ = "0.1.0"
