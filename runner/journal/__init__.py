"""The journal: the one SQLite file in which executions, their events and answers to gates lie.

Owns ``journal.db``; the directory is ``state``'s. It promises: what ``append`` has returned
from is on disk; nothing that was not delivered is deleted; two processes may share it; and a disk
that refuses never stops a build. It does not know when an event is made (``recorder``), nor what an
intake answers (``delivery``).

    rows        what goes in and comes out
    base        the tables, their versions; executions from one database into another
    salvage     what can still be read of a damaged file
    home        where the database is right now: file gone, disk full, file damaged
    connection  queries and commits, mended if need be
    statements  one change of an execution, as SQL
    outbox      the events that wait, as SQL
    joblogs     how far each job's log has been sent, as SQL
    travel      executions that come from another journal
    store       ``Journal``
"""

from runner.journal.rows import (
    Change,
    Claim,
    Cursor,
    Ended,
    Header,
    JobLog,
    Open,
    Owner,
    Pending,
    Row,
    Section,
    State,
    Stored,
    StoredEvent,
    Tally,
    Unsent,
)
from runner.journal.store import Journal
from runner.journal.travel import Past, waiting_jobs
from runner.notice import GateWaiting

__all__ = [
    "Change",
    "Claim",
    "Cursor",
    "Ended",
    "GateWaiting",
    "Header",
    "JobLog",
    "Journal",
    "Open",
    "Owner",
    "Past",
    "Pending",
    "Row",
    "Section",
    "State",
    "Stored",
    "StoredEvent",
    "Tally",
    "Unsent",
    "waiting_jobs",
]
