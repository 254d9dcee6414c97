"""The results store: SQLAlchemy models, migrations, ingest of journals, queries.

::

    with open_store() as store:
        ingest(Path("journal.jsonl"), store)
        run = load_run(store, resolve_run(store, "last"))
"""

from farm.store.engine import Store, open_store
from farm.store.ingest import IngestResult, ingest
from farm.store.last import BoardVerdicts, last_verdicts
from farm.store.queries import history, list_runs, load_run, resolve_run, verdict_history

__all__ = [
    "BoardVerdicts",
    "IngestResult",
    "Store",
    "history",
    "ingest",
    "last_verdicts",
    "list_runs",
    "load_run",
    "open_store",
    "resolve_run",
    "verdict_history",
]
