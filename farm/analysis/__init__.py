"""What the numbers say: verdict counts, trends, the sharing matrix; no I/O but the store's."""

from farm.analysis.summary import (
    JobSummary,
    RunSummary,
    exit_of,
    run_summary,
    second_attempts,
    summarise,
    unsettled,
)
from farm.analysis.verdicts import exit_code

__all__ = [
    "JobSummary",
    "RunSummary",
    "exit_code",
    "exit_of",
    "run_summary",
    "second_attempts",
    "summarise",
    "unsettled",
]
