"""Logs of jobs that are to be sent, as statements: where steps begin in them, how far they got.

Owns the SQL of cursors and sections. The lines themselves lie in the log files, and who reads those
is ``delivery``. A job has a row here only if its execution was told to send logs.
"""

import sqlite3
from collections.abc import Callable

from runner.journal.rows import Cursor, JobLog, Section, Unsent


def put(db: sqlite3.Connection, execution: int, section: Section) -> None:
    """A step begins to write. Nothing is behind it: a silent step leaves its place to the next, and
    a file that was removed and made anew begins at 0 again.
    """
    db.execute("INSERT OR IGNORE INTO log (number, job) VALUES (?, ?)", (execution, section.job))
    db.execute(
        "UPDATE log SET offset = min(offset, ?) WHERE number = ? AND job = ?",
        (section.offset, execution, section.job),
    )
    db.execute(
        "DELETE FROM section WHERE number = ? AND job = ? AND offset >= ?",
        (execution, section.job, section.offset),
    )
    db.execute(
        "INSERT INTO section VALUES (?, ?, ?, ?)",
        (execution, section.job, section.offset, section.name),
    )


def waiting(
    db: sqlite3.Connection, sendable: Callable[[str], bool], *, binding: str, run: str
) -> list[JobLog]:
    """The logs that are not done with, the first begun execution first."""
    rows = db.execute(
        "SELECT number, id, envelope, job, offset, line, records, size, EXISTS (SELECT 1 FROM open"
        " WHERE open.number = log.number AND level = 'job' AND open.id = job)"
        " FROM log JOIN execution USING (number)"
        " WHERE done = 0 AND binding = ? AND (? = '' OR id = ?) ORDER BY number, log.rowid",
        (binding, run, run),
    ).fetchall()
    return [
        JobLog(
            execution=id_,
            job=job,
            envelope=envelope,
            cursor=Cursor(offset=offset, line=line, records=records, size=size),
            ended=not runs,
        )
        for number, id_, envelope, job, offset, line, records, size, runs in rows
        if sendable(id_)
    ]


def unsent(db: sqlite3.Connection, execution: str) -> list[Unsent]:
    """Of an execution that has ended, the logs that are not done with."""
    rows = db.execute(
        "SELECT job, offset, line, records, size FROM log JOIN execution USING (number)"
        " WHERE id = ? AND done = 0 ORDER BY log.rowid",
        (execution,),
    ).fetchall()
    return [
        Unsent(
            job=job,
            cursor=Cursor(offset=offset, line=line, records=records, size=size),
            sections=sections(db, execution, job),
        )
        for job, offset, line, records, size in rows
    ]


def admit(db: sqlite3.Connection, execution: int, log: Unsent) -> None:
    """Take in a log that has travelled: it goes on where it was."""
    cursor = log.cursor
    db.execute(
        "INSERT INTO log (number, job, offset, line, records, size) VALUES (?, ?, ?, ?, ?, ?)",
        (execution, log.job, cursor.offset, cursor.line, cursor.records, cursor.size),
    )
    db.executemany(
        "INSERT INTO section VALUES (?, ?, ?, ?)",
        [(execution, log.job, section.offset, section.name) for section in log.sections],
    )


def sections(db: sqlite3.Connection, execution: str, job: str) -> tuple[Section, ...]:
    """Where the steps of a job begin in its log, by offset."""
    rows = db.execute(
        "SELECT offset, name FROM section JOIN execution USING (number)"
        " WHERE id = ? AND job = ? ORDER BY offset",
        (execution, job),
    )
    return tuple(Section(job=job, offset=offset, name=name) for offset, name in rows)


def advance(
    db: sqlite3.Connection, execution: str, job: str, cursor: Cursor, *, done: bool
) -> None:
    """So far everything has been dealt with; ``done``: there is no more to come."""
    db.execute(
        "UPDATE log SET offset = ?, line = ?, records = ?, size = ?, done = ?"
        " WHERE job = ? AND number = (SELECT number FROM execution WHERE id = ?)",
        (cursor.offset, cursor.line, cursor.records, cursor.size, done, job, execution),
    )


def held(db: sqlite3.Connection, execution: int) -> set[str]:
    """Jobs whose log is not done with."""
    rows = db.execute("SELECT job FROM log WHERE number = ? AND done = 0", (execution,))
    return {job for (job,) in rows}
