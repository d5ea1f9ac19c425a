"""The journal when the disk, the build or another process works against it; ids of the fault list.

Real files, real kills, real file systems that are full or read-only. D3 (inodes, quota) and D5
(EIO) stand in ``test_faults_disk``.
"""

import os
import random
import resource
import select
import shutil
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runner import cli
from runner.cli import defect  # noqa: F401 - while it can be read
from runner.errors import RefusedError, SurroundingsError
from runner.event import Status
from runner.journal import Change, Claim, Journal, State, base
from runner.state import Place
from tests import journal_rows as make
from tests.journal_rows import BINDING, OWNER, begun, parts

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting and chown need root")


class Warnings(list[str]):
    """What a person was told."""

    def __call__(self, message: str) -> None:
        self.append(message)


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


@pytest.fixture
def warnings() -> Warnings:
    return Warnings()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[str]:
    """A file system of 256 KB."""
    place = str(tmp_path / "disk")
    os.mkdir(place)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def reopened(state: str) -> Journal:
    """The state as the next process finds it, which must be sound."""
    said = Warnings()
    journal = Journal.open(state, warn=said)
    assert (said, journal.degraded) == ([], "")
    assert journal._link.db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return journal


def fill(place: str) -> str:
    """Leave no byte free."""
    path = os.path.join(place, "ballast")
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return path


# ── killed ───────────────────────────────────────────────────────────────────────────────────────


def test_S1_no_acknowledged_event_is_lost_in_30_kills(state: str) -> None:
    chance = random.Random(8)
    new = make.header()
    run = new.execution.unique_id
    first = Journal.open(state, warn=Warnings())
    first.begin(new, Change())
    first.close()
    acknowledged: list[str] = []
    for round_ in range(30):
        told, tell = os.pipe()

        def work(round_: int = round_, tell: int = tell) -> None:
            journal = Journal.open(state, warn=Warnings())
            for number in range(100_000):
                part = f"{round_}-{number}"
                opened = (make.opened(f"{round_}-{number + 1}"),)
                journal.append(run, Change(rows=(make.row(part),), opened=opened))
                os.write(tell, f"{part}\n".encode())

        process = make.fork(work)
        os.close(tell)
        select.select([told], [], [], 20)  # it has begun
        time.sleep(chance.uniform(0.001, 0.04))
        make.kill(process)
        with open(told, encoding="ascii") as pipe:
            acknowledged += pipe.read().split()
    journal = reopened(state)
    kept = parts(journal, run)
    assert len(acknowledged) >= 30  # one a kill, on the slowest of machines
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept)) <= len(acknowledged) + 30
    assert journal.tally(execution=run, binding=BINDING).waiting == len(kept)
    journal.close()


def test_R9_a_kill_while_a_gate_is_answered_leaves_nothing_or_an_execution(state: str) -> None:
    chance = random.Random(9)
    journal = Journal.open(state, warn=Warnings())
    runs = [begun(journal) for _ in range(200)]
    for run in runs:
        journal.append(run, make.blocked("approve"))
    journal.close()

    def work() -> None:
        answering = Journal.open(state, warn=Warnings())
        for run in runs:
            claim = Claim(blocked=run, answers=(make.answer("approve"),))
            with suppress(RefusedError):
                answering.begin(make.header(resumed_from=run), make.rows("p"), claim)

    for more in range(1, 13):  # on a busy machine only the later ones come to anything
        process = make.fork(work)
        time.sleep(more * chance.uniform(0.005, 0.03))
        make.kill(process)
    journal = reopened(state)
    answered = [run for run in runs if journal.find(run).answered_by]
    assert answered
    for run in answered:
        successor = journal.find(journal.find(run).answered_by)
        assert successor.header.execution.resumed_from == run
        assert parts(journal, successor.id) == ["p"]
        assert len(journal.answers(run)) == 1
    begins = [s for s in journal.stored() if s.header.execution.resumed_from]
    assert len(begins) == len(answered)
    assert len(journal.dead(OWNER)) == min(50, len(answered))
    journal.close()


def test_D11_eight_processes_share_one_state(state: str) -> None:
    runs = [make.header() for _ in range(8)]

    def work(number: int) -> None:
        said = Warnings()
        journal = Journal.open(state, warn=said)
        run = runs[number].execution.unique_id
        journal.begin(runs[number], Change())
        for step in range(40):
            journal.append(run, make.rows(f"{number}-{step}"))
        journal.close()
        assert not said

    processes = [make.fork(lambda number=number: work(number)) for number in range(8)]  # type: ignore[misc]
    assert [make.wait(process) for process in processes] == [0] * 8
    journal = reopened(state)
    for number, header in enumerate(runs):
        kept = parts(journal, header.execution.unique_id)
        assert kept == [f"{number}-{step}" for step in range(40)]
    journal.close()


# ── removed by the build ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_step_that_cleans_the_workspace_loses_nothing(
    state: str, warnings: Warnings, mode: str
) -> None:
    journal = Journal.open(state, warn=warnings)
    journal._link.db.execute(f"PRAGMA journal_mode = {mode}")
    earlier = begun(journal)
    journal.append(earlier, make.rows("earlier"))
    run = begun(journal)
    twin = journal.twin()
    journal.append(run, make.rows("one"))
    sent = twin.pending(binding=BINDING, run=run)
    shutil.rmtree(state)
    journal.append(run, make.rows("two"))
    assert len(warnings) == 1
    assert "was removed while it was in use" in warnings[0]
    copied = shutil.copytree(state, f"{state}-copy")  # what a kill would leave now
    looking = Journal.read(str(copied))
    assert parts(looking, run) == ["one", "two"]
    looking.close()
    twin.settle([event.seq for event in sent], State.DELIVERED)
    assert [event.id for event in twin.pending(binding=BINDING, run=run)] == ["two"]
    twin.close()
    other = Journal.open(state, warn=warnings)
    assert other.dead(OWNER) == []
    assert not other._home.place.seize(run)  # its lock is there and held again
    other.close()
    journal.close()
    after = reopened(state)
    assert parts(after, run) == ["one", "two"]
    assert parts(after, earlier) == ["earlier"]
    assert len(warnings) == 1
    after.close()


def test_the_last_connection_to_a_removed_file_leaves_the_new_ones_wal_alone(state: str) -> None:
    """SQLite removes the WAL by its name when the last connection closes."""
    journal = Journal.open(state, warn=Warnings())
    twin = journal.twin()
    run = begun(journal)
    shutil.rmtree(state)
    journal.append(run, make.rows("one"))
    journal.append(run, make.rows("two"))
    twin.close()
    copied = shutil.copytree(state, f"{state}-copy")
    looking = Journal.read(str(copied))
    assert parts(looking, run) == ["one", "two"]
    looking.close()
    journal.close()


def test_two_runs_whose_workspace_was_cleaned_meet_again_in_one_file(state: str) -> None:
    one, two = Journal.open(state, warn=Warnings()), Journal.open(state, warn=Warnings())
    first, second = begun(one), begun(two)
    one.append(first, make.rows("a"))
    two.append(second, make.rows("x"))
    shutil.rmtree(state)
    stranger = Journal.open(state, warn=Warnings())  # begins anew, before the others notice
    third = begun(stranger)
    for number in range(3):
        one.append(first, make.rows(f"b{number}"))
        two.append(second, make.rows(f"y{number}"))
        stranger.append(third, make.rows(f"s{number}"))
    for journal in (one, two, stranger):
        journal.close()
    after = reopened(state)
    assert parts(after, first) == ["a", "b0", "b1", "b2"]
    assert parts(after, second) == ["x", "y0", "y1", "y2"]
    assert parts(after, third) == ["s0", "s1", "s2"]
    after.close()


def test_an_answer_after_the_state_was_removed_goes_into_the_new_file(
    state: str, warnings: Warnings
) -> None:
    journal = Journal.open(state, warn=warnings)
    run = begun(journal)
    journal.append(run, make.blocked("approve"))
    shutil.rmtree(state)
    claim = Claim(blocked=run, answers=(make.answer("approve"),))
    journal.begin(make.header(), make.rows("p"), claim)
    other = Journal.open(state, warn=warnings)
    with pytest.raises(RefusedError, match="answered already"):
        other.begin(make.header(), Change(), claim)
    other.close()
    journal.close()


def test_a_state_replaced_by_a_symlink_is_not_followed(
    state: str, tmp_path: Path, warnings: Warnings
) -> None:
    journal = Journal.open(state, warn=warnings)
    run = begun(journal)
    shutil.rmtree(state)
    trap = tmp_path / "trap"
    trap.mkdir()
    os.symlink(trap, state)
    journal.append(run, make.rows("one"))
    assert "symbolic link" in journal.degraded
    assert parts(journal, run) == ["one"]
    journal.close()
    assert os.listdir(trap) == []


# ── a disk that refuses ──────────────────────────────────────────────────────────────────────────


@root_only
def test_D1_a_full_disk_stops_nothing_and_events_return_when_there_is_room(
    small_disk: str, warnings: Warnings
) -> None:
    state = os.path.join(small_disk, "state")
    journal = Journal.open(state, warn=warnings)
    run = begun(journal)
    twin = journal.twin()
    journal.append(run, make.rows("before"))
    ballast = fill(small_disk)
    steps = [f"s{number}" for number in range(100)]
    for step in steps:
        journal.append(run, make.rows(step))
    assert len(warnings) == 1
    assert "disk is full" in journal.degraded
    assert [e.id for e in twin.pending(binding=BINDING, run=run)] == ["before", *steps]
    assert journal.tally(execution=run, binding=BINDING).memory == 101
    first = twin.pending(binding=BINDING, run=run)[0]
    twin.settle([first.seq], State.DELIVERED)
    twin.close()
    assert journal.tally(execution=run, binding=BINDING).memory == 100
    os.unlink(ballast)
    journal.close()
    assert not journal.degraded
    after = reopened(state)
    assert parts(after, run) == ["before", *steps]
    assert after.tally(execution=run).delivered == 1
    after.close()


@root_only
def test_D1_a_disk_that_stays_full_keeps_what_it_had(small_disk: str, warnings: Warnings) -> None:
    state = os.path.join(small_disk, "state")
    journal = Journal.open(state, warn=warnings)
    run = begun(journal)
    journal.append(run, make.rows("before"))
    ballast = fill(small_disk)
    for number in range(100):
        journal.append(run, make.rows(f"s{number}"))
    journal.close()
    assert journal.degraded
    os.unlink(ballast)
    after = reopened(state)
    kept = parts(after, run)
    assert kept[0] == "before"
    assert kept[1:] == [f"s{number}" for number in range(len(kept) - 1)]
    after.close()


@root_only
def test_D1_a_disk_that_is_full_from_the_start(small_disk: str, warnings: Warnings) -> None:
    fill(small_disk)
    journal = Journal.open(os.path.join(small_disk, "state"), warn=warnings)
    run = begun(journal)
    journal.append(run, make.rows("s"))
    assert len(warnings) == 1
    assert [event.id for event in journal.pending(binding=BINDING, run=run)] == ["s"]
    journal.close()
    assert journal.degraded


def test_D1_a_limit_on_file_size_is_a_full_disk_for_everybody(state: str) -> None:
    def work() -> None:
        said = Warnings()
        journal = Journal.open(state, warn=said)
        run = begun(journal)
        limit = os.stat(os.path.join(state, "journal.db-wal")).st_size + 10_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        for number in range(20):
            journal.append(run, make.rows(str(number)))
        assert journal.degraded
        assert len(said) == 1
        assert parts(journal, run) == list(map(str, range(20)))

    assert make.wait(make.fork(work)) == 0


@root_only
def test_D4_a_file_system_that_becomes_read_only(small_disk: str, warnings: Warnings) -> None:
    state = os.path.join(small_disk, "state")
    journal = Journal.open(state, warn=warnings)
    waiting = begun(journal)
    journal.append(waiting, make.blocked("approve"))
    run = begun(journal)
    journal.append(run, make.rows("one"))
    journal.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    journal = Journal.open(state, warn=warnings)
    assert "cannot be written" in journal.degraded
    later = begun(journal)
    journal.append(later, make.rows("s"))
    assert [event.id for event in journal.pending(binding=BINDING)] == ["s"]
    claim = Claim(blocked=waiting, answers=(make.answer("approve"),))
    with pytest.raises(SurroundingsError, match="answer cannot be kept"):
        journal.begin(make.header(), Change(), claim)
    journal.close()
    assert len(warnings) == 1
    looking = Journal.read(state)  # what is there can still be looked at
    assert parts(looking, run) == ["one"]
    assert not looking.find(waiting).answered_by
    looking.close()
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)


@root_only
def test_D4_a_directory_of_root_that_a_user_may_not_write(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == 0 and str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)

    def work() -> None:
        os.setgid(65534)
        os.setuid(65534)
        said = Warnings()
        journal = Journal.open(str(tmp_path / "state"), warn=said)
        run = begun(journal)
        journal.append(run, make.rows("s"))
        assert "Permission denied" in journal.degraded
        assert len(said) == 1
        journal.close()

    assert make.wait(make.fork(work)) == 0


def test_D13_without_shared_memory_the_rollback_journal_does(
    state: str, warnings: Warnings
) -> None:
    journal = Journal.open(state, warn=warnings)
    run = begun(journal)
    journal.append(run, make.rows("one"))
    journal.close()
    os.mkdir(os.path.join(state, "journal.db-shm"))  # so SQLite cannot have its shared memory
    journal = Journal.open(state, warn=warnings)
    assert journal._link.db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    journal.append(run, make.rows("two"))
    assert parts(journal, run) == ["one", "two"]
    journal.close()
    assert warnings == []


# ── files that are not what they were ────────────────────────────────────────────────────────────


def sound(state: str, events: int = 60) -> str:
    """A journal in one file; the id of its execution."""
    journal = Journal.open(state, warn=Warnings())
    run = begun(journal)
    journal.append(run, make.rows(*(f"s{number:03}" for number in range(events))))
    journal.append(run, make.ended())
    journal.close()
    return run


def kept_files(state: str) -> list[str]:
    return sorted(name for name in os.listdir(state) if ".corrupt-" in name and "-wal" not in name)


@pytest.mark.parametrize(
    "content", [b"", b"garbage " * 1000, b"SQLite format 3\0" + bytes(4096)], ids=len
)
def test_D8_a_file_that_is_no_journal_is_put_aside_and_kept(
    state: str, warnings: Warnings, content: bytes
) -> None:
    os.mkdir(state, 0o700)
    path = Path(state, "journal.db")
    path.write_bytes(content)
    journal = Journal.open(state, warn=warnings)
    run = begun(journal)
    journal.append(run, make.rows("s"))
    assert not journal.degraded
    journal.close()
    (kept,) = kept_files(state)
    assert Path(state, kept).read_bytes() == content
    assert len(warnings) == 1
    assert "was damaged" in warnings[0]
    reopened(state).close()


def test_D8_another_programs_database_is_put_aside(state: str, warnings: Warnings) -> None:
    os.mkdir(state, 0o700)
    db = sqlite3.connect(os.path.join(state, "journal.db"))
    db.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, body BLOB)")
    db.commit()
    db.close()
    Journal.open(state, warn=warnings).close()
    assert "not a journal of Signalbox" in warnings[0]
    assert len(kept_files(state)) == 1


def test_D8_the_rows_of_a_damaged_file_are_saved(state: str, warnings: Warnings) -> None:
    run = sound(state, events=400)
    path = Path(state, "journal.db")
    db = sqlite3.connect(path)
    pages = (
        [
            page
            for (page,) in db.execute(
                "SELECT pageno FROM dbstat WHERE name = 'event' AND pagetype = 'leaf'"
            )
        ]
        if _has_dbstat(db)
        else [path.stat().st_size // 4096 // 2]
    )
    db.close()
    raw = bytearray(path.read_bytes())
    broken = pages[len(pages) // 2]
    raw[(broken - 1) * 4096 : broken * 4096] = os.urandom(4096)
    path.write_bytes(raw)
    journal = Journal.open(state, warn=warnings)
    journal.pending(binding=BINDING)  # the damage is found when it is read
    assert not journal.degraded
    left = parts(journal, run)
    assert 300 < len(left) < 400
    assert journal.find(run).status is Status.SUCCESS
    assert [event.id for event in journal.pending(binding=BINDING)] == left
    assert len(warnings) == 1
    assert f"{len(left)} events could be read" in warnings[0]
    journal.close()
    assert len(kept_files(state)) == 1
    reopened(state).close()


def _has_dbstat(db: sqlite3.Connection) -> bool:
    with suppress(sqlite3.OperationalError):
        db.execute("SELECT 1 FROM dbstat LIMIT 1")
        return True
    return False


def test_D8_no_damage_stops_a_build_or_sends_a_changed_event(state: str) -> None:
    chance = random.Random(11)
    run = sound(state)
    whole = Path(state, "journal.db").read_bytes()
    true = {make.row(f"s{number:03}").body[:-1] for number in range(60)}
    for number in range(120):
        raw = bytearray(whole)
        if number % 3 == 0:
            raw = raw[: chance.randrange(len(raw))]
        for _ in range(number % 3 * 4):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        if number % 7 == 0:
            start = chance.randrange(max(1, len(raw)))
            raw[start : start + 3000] = bytes(len(raw[start : start + 3000]))
        place = Path(f"{state}-{number}")
        place.mkdir(0o700)
        (place / "journal.db").write_bytes(raw)
        if number % 5 == 0:
            (place / "journal.db-wal").write_bytes(chance.randbytes(5000))
        journal = Journal.open(str(place), warn=Warnings())
        new = begun(journal)
        journal.append(new, make.rows("s"))
        assert parts(journal, new) == ["s"]
        for event in journal.pending(binding=BINDING):
            if event.execution == run:
                assert event.body.split(b'"resource":')[1].split(b',"git"')[0].rstrip(b"}") in true
        while batch := journal.pending(binding=BINDING, events=20):  # it comes to an end
            journal.settle([event.seq for event in batch], State.DELIVERED)
        for stored in journal.stored():
            journal.events(stored.id)
            journal.opens(stored.id)
            journal.results(stored.id)
        journal.prune(before=0, keep=10)
        journal.close()
        shutil.rmtree(place)


def test_D8_a_file_scribbled_over_while_it_is_open(state: str, warnings: Warnings) -> None:
    sound(state, events=400)
    journal = Journal.open(state, warn=warnings)
    twin = journal.twin()
    run = begun(journal)
    with open(os.path.join(state, "journal.db"), "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(os.stat(file.fileno()).st_size - 4096))
    with open(os.path.join(state, "journal.db-wal"), "r+b") as file:
        file.write(os.urandom(os.stat(file.fileno()).st_size))
    for number in range(5):
        journal.append(run, make.rows(str(number)))
        twin.pending(binding=BINDING)
        journal.stored()
    assert "4" in parts(journal, run)
    twin.close()
    journal.close()
    reopened(state).close()


def test_D14_older_tables_are_brought_up_to_date_after_a_copy(state: str) -> None:
    run = sound(state)
    path = os.path.join(state, "journal.db")
    kept: list[int] = []
    db = base.connect(base.file_uri(path))
    scripts = (*base.MIGRATIONS, "ALTER TABLE execution ADD COLUMN extra TEXT; SELECT 1")
    base.migrate(db, kept.append, scripts)
    base.migrate(db, kept.append, scripts)  # another process that saw the older version
    assert kept == [len(base.MIGRATIONS), len(scripts)]
    assert db.execute("PRAGMA user_version").fetchone() == (len(scripts),)
    assert db.execute("SELECT id, extra FROM execution").fetchall() == [(run, None)]
    db.close()


def test_D14_a_migration_that_fails_changes_nothing(state: str) -> None:
    sound(state)
    db = base.connect(base.file_uri(os.path.join(state, "journal.db")))
    wrong = (*base.MIGRATIONS, "CREATE TABLE extra (x TEXT); CREATE TABLE extra (x TEXT)")
    with pytest.raises(sqlite3.OperationalError):
        base.migrate(db, lambda _: None, wrong)
    assert db.execute("PRAGMA user_version").fetchone() == (len(base.MIGRATIONS),)
    assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchone() is None
    db.close()


def test_D14_an_older_file_is_copied_before_it_is_changed(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sound(state)
    kept = os.path.join(state, f"journal.db.v{len(base.MIGRATIONS)}")
    later = (*base.MIGRATIONS, "ALTER TABLE execution ADD COLUMN extra TEXT")
    monkeypatch.setattr(base, "MIGRATIONS", later)
    journal = Journal.open(state, warn=Warnings())
    assert journal._link.db.execute("PRAGMA user_version").fetchone() == (len(later),)
    assert len(parts(journal, run)) == 60
    journal.close()
    assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600
    db = sqlite3.connect(kept)
    assert db.execute("SELECT id FROM execution").fetchall() == [(run,)]
    db.close()


def test_D15_a_later_versions_file_is_left_alone(state: str, warnings: Warnings) -> None:
    sound(state)
    path = Path(state, "journal.db")
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    journal = Journal.open(state, warn=warnings)
    run = begun(journal)
    journal.append(run, make.rows("s"))
    assert [event.id for event in journal.pending(binding=BINDING)] == ["s"]
    journal.close()
    assert "later version" in journal.degraded
    assert len(warnings) == 1
    assert path.read_bytes() == before
    assert kept_files(state) == []
    with pytest.raises(SurroundingsError, match="later version"):
        Journal.read(state)


def test_D18_what_a_killed_process_left_half_made_is_removed(state: str) -> None:
    os.makedirs(os.path.join(state, "runs"), 0o700)
    Path(state, "journal.db.tmp").write_bytes(b"half")
    Journal.open(state, warn=Warnings()).close()
    assert sorted(os.listdir(state)) == [".gitignore", ".lock", "journal.db", "runs"]


# ── whose it is ──────────────────────────────────────────────────────────────────────────────────


def test_D17_symlinks_are_refused(state: str, tmp_path: Path) -> None:
    real = tmp_path / "real"
    sound(str(real))
    os.symlink(real, state)
    with pytest.raises(SurroundingsError, match="state is a symbolic link"):
        Journal.open(state, warn=Warnings())
    os.unlink(state)
    os.mkdir(state, 0o700)
    os.symlink(real / "journal.db", os.path.join(state, "journal.db"))
    with pytest.raises(SurroundingsError, match=r"journal\.db is a symbolic link"):
        Journal.open(state, warn=Warnings())


@pytest.mark.parametrize("mode", [0o777, 0o755])
def test_D17_what_others_may_read_or_write_is_corrected(state: str, mode: int) -> None:
    run = sound(state)
    os.chmod(state, mode)
    os.chmod(os.path.join(state, "journal.db"), 0o666)
    journal = reopened(state)
    assert len(parts(journal, run)) == 60
    journal.close()
    assert stat.S_IMODE(os.stat(state).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(os.path.join(state, "journal.db")).st_mode) == 0o600


@pytest.mark.parametrize("names", [["thesis.txt"], [".gitignore", "runs", "thesis.txt"]], ids=str)
def test_D17_a_directory_of_somebody_elses_files_is_not_taken_over(
    tmp_path: Path, names: list[str]
) -> None:
    """Nor is its mode changed: ``--state /etc`` would take a machine's users out of it."""
    for name in names:
        (tmp_path / name).write_text("years of work")
    tmp_path.chmod(0o755)
    with pytest.raises(SurroundingsError, match="holds other files"):
        Journal.open(str(tmp_path), warn=Warnings())
    assert sorted(os.listdir(tmp_path)) == names
    assert stat.S_IMODE(os.stat(tmp_path).st_mode) == 0o755


def test_D17_a_directory_that_all_users_share_is_refused(state: str) -> None:
    os.mkdir(state)
    os.chmod(state, 0o1777)
    with pytest.raises(SurroundingsError, match="all users share"):
        Journal.open(state, warn=Warnings())
    assert stat.S_IMODE(os.stat(state).st_mode) == 0o1777


@root_only
def test_D17_a_strangers_directory_is_refused_the_workspace_owners_is_not(state: str) -> None:
    sound(state)
    os.chown(state, 1001, 1001)
    with pytest.raises(SurroundingsError, match="belongs to user 1001, not to user 0"):
        Journal.open(state, warn=Warnings())
    Journal.open(Place(state, (1001, 1001)), warn=Warnings()).close()


@root_only
def test_T23_what_root_makes_belongs_to_the_workspaces_owner(state: str) -> None:
    journal = Journal.open(Place(state, (1001, 1001)), warn=Warnings())
    run = begun(journal)
    journal.append(run, make.rows("s"))
    Path(journal.directory(run), "job.log").write_text("out")
    during = {os.path.join(folder, name) for folder, _, names in os.walk(state) for name in names}
    assert any(path.endswith("-wal") for path in during)
    journal.close()
    for folder, _, names in os.walk(state):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            assert os.lstat(path).st_uid == 1001, path


@root_only
@pytest.mark.parametrize("command", ["list", "show", "report", "clean"])
def test_a_state_that_is_kept_from_us_is_no_missing_one(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    Journal.open(str(state), warn=pytest.fail).close()
    cli.run([command, "--state", str(state)])  # and all that it takes is loaded
    capsys.readouterr()
    os.seteuid(65534)
    try:
        code = cli.run([command, "--state", str(state)])
    finally:
        os.seteuid(0)
    said = capsys.readouterr().err
    assert (code, "Permission denied" in said) == (4, True), said
    assert "no executions" not in said
    assert "goes on" not in said


@root_only
def test_a_disk_without_room_for_shared_memory_is_full_and_nobody_waits(small_disk: str) -> None:
    """A connection that failed kept its lock, and the next one waited for that: 10 s a command."""
    subprocess.run(["mount", "-o", "remount,size=64k", small_disk], check=True)
    said = Warnings()
    journal = Journal.open(f"{small_disk}/state", warn=said)
    assert journal.degraded.endswith("database or disk is full")
    assert begun(journal)
    journal.close()
    assert len(said) == 1
