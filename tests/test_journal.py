"""The journal's promises on a sound disk; ``test_journal_faults`` has the others."""

import json
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import RefusedError, UsageError
from runner.event import Status, join
from runner.execution import SECOND
from runner.journal import Change, Claim, Journal, Owner, Pending, State
from runner.journal.outbox import Batch
from runner.notice import Outcome, Result
from tests import journal_rows as make
from tests.journal_rows import BINDING, GIT, OWNER, begun, parts


def refuse(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


@pytest.fixture
def journal(state: str) -> Iterator[Journal]:
    journal = Journal.open(state, warn=refuse)
    yield journal
    journal.close()
    assert not journal.degraded


def pending(journal: Journal, run: str = "") -> list[str]:
    return [event.id for event in journal.pending(binding=BINDING, run=run)]


# ── events ───────────────────────────────────────────────────────────────────────────────────────


def test_an_event_is_on_disk_when_append_returns(journal: Journal, state: str) -> None:
    run = begun(journal)
    journal.append(run, make.rows("one", "two"))
    copied = Path(state).with_name("copied")
    shutil.copytree(state, copied)  # what a kill at this moment would leave
    after = Journal.open(str(copied), warn=refuse)
    assert parts(after, run) == ["one", "two"]
    after.close()


def test_what_goes_in_comes_out(journal: Journal) -> None:
    new = make.header()
    run = new.execution.unique_id
    journal.begin(new, Change(rows=(make.row("p", level="pipeline", final=False, at=3),)))
    result = Result(job="test (3.11)", outcome=Outcome.ERROR, allowed=True, outputs={"A": "é\n"})
    journal.append(run, Change(results=(result,), rows=(make.row("s", at=8),)))
    (stored,) = journal.stored()
    assert stored.header == new
    assert (stored.status, stored.git_settled, stored.id) == (None, False, run)
    assert journal.results(run) == {"test (3.11)": result}
    assert journal.last_at(run) == 8
    assert [(e.level, e.id, e.final, e.at) for e in journal.events(run)] == [
        ("pipeline", "p", False, 3),
        ("step", "s", True, 8),
    ]


def test_a_final_event_closes_what_was_open(journal: Journal) -> None:
    run = begun(journal)
    parts_open = (make.opened("p", "pipeline"), make.opened("j", "job"), make.opened("s1"))
    journal.append(run, Change(opened=parts_open))
    journal.append(run, Change(rows=(make.row("s1"),), opened=(make.opened("s2"),)))
    assert [part.id for part in journal.opens(run)] == ["s2", "j", "p"]
    journal.append(run, make.rows("s2"))
    assert [part.id for part in journal.opens(run)] == ["j", "p"]


def test_inv_R5_a_running_event_that_waits_is_not_sent_after_the_final_one(
    journal: Journal,
) -> None:
    run = begun(journal)
    for note in ("first", "more tags"):
        running = make.row("p", level="pipeline", final=False, note=note)
        journal.append(run, Change(rows=(running,)))
    assert [b"more tags" in e.body for e in journal.pending(binding=BINDING)] == [True]
    final = make.row("p", level="pipeline")
    late = msgspec.structs.replace(final, at=final.at + 6 * SECOND)
    journal.append(run, Change(rows=(late,)))
    assert [e.final for e in journal.pending(binding=BINDING)] == [True]
    assert journal.tally(binding=BINDING).superseded == 2


def test_inv_R5_running_and_final_are_never_in_one_request(journal: Journal) -> None:
    run = begun(journal)
    rows = (
        make.row("p", level="pipeline", final=False),
        make.row("s", level="step"),
        make.row("p", level="pipeline"),
    )
    journal.append(run, Change(rows=rows))
    first = journal.pending(binding=BINDING)
    assert [(e.id, e.final) for e in first] == [("p", False), ("s", True)]
    journal.settle([event.seq for event in first], State.DELIVERED)
    assert [(e.id, e.final) for e in journal.pending(binding=BINDING)] == [("p", True)]


def test_a_running_event_that_was_on_the_wire_counts_as_delivered(journal: Journal) -> None:
    run = begun(journal)
    journal.append(run, Change(rows=(make.row("p", level="pipeline", final=False),)))
    (sent,) = journal.pending(binding=BINDING)
    journal.append(run, Change(rows=(make.row("p", level="pipeline"),)))
    journal.settle([sent.seq], State.DELIVERED)
    states = [event.state for event in journal.events(run)]
    assert states == [State.DELIVERED, State.WAITING]


def test_inv_R2_a_resend_is_byte_identical_whoever_sends_it(journal: Journal, state: str) -> None:
    run = begun(journal)
    journal.append(run, make.rows("s"))
    first = journal.pending(binding=BINDING, run=run)
    expected = join(make.header().envelope, GIT, make.row("s").body)
    assert [event.body for event in first] == [expected]
    assert json.loads(expected)["attributes"]["resource"]["git"]["sha"] == "a" * 40
    other = Journal.open(state, warn=refuse)
    assert other.pending(binding=BINDING, run=run) == first
    other.close()


# ── sending ──────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_sent_before_its_git_is_settled_once(journal: Journal) -> None:
    new = make.header()
    run = new.execution.unique_id
    journal.begin(new, make.rows("s"))
    assert pending(journal) == []
    assert journal.freeze_git(run, None)
    assert not journal.freeze_git(run, GIT)
    (event,) = journal.pending(binding=BINDING)
    assert b"git" not in event.body
    assert journal.find(run).git is None


def test_local_and_others_events_stay_until_they_are_adopted(journal: Journal) -> None:
    local = begun(journal, binding="")
    others = begun(journal, binding="another key")
    journal.append(local, make.rows("l"))
    journal.append(others, make.rows("o"))
    assert pending(journal) == []
    assert journal.pending(binding="") == []
    tally = journal.tally(binding=BINDING)
    assert (tally.local, tally.held, tally.waiting, tally.total) == (1, 1, 0, 2)
    journal.adopt(local, BINDING)
    assert pending(journal) == ["l"]
    assert journal.find(local).header.binding == BINDING


def test_own_events_can_be_asked_for_alone_and_the_rest_come_oldest_first(
    journal: Journal,
) -> None:
    first, second = begun(journal), begun(journal)
    journal.append(second, make.rows("c"))
    journal.append(first, make.rows("a", "b"))
    assert pending(journal, run=second) == ["c"]
    assert pending(journal) == ["a", "b", "c"]


def test_a_request_holds_as_many_events_as_asked(journal: Journal) -> None:
    run = begun(journal)
    journal.append(run, make.rows(*map(str, range(7))))
    seen: list[str] = []
    while batch := journal.pending(binding=BINDING, events=3):
        assert len(batch) <= 3
        seen += [event.id for event in batch]
        journal.settle([event.seq for event in batch], State.DELIVERED)
    assert seen == list(map(str, range(7)))


@given(st.lists(st.integers(0, 400), min_size=1, max_size=12), st.integers(1, 1500))
def test_a_request_is_never_larger_than_asked_but_for_a_single_event(
    sizes: list[int], size: int
) -> None:
    taken: list[int] = []
    batch = Batch(1000, size)
    for one in sizes:
        if not batch._take(one):
            break
        taken.append(one)
        batch.found.append(
            Pending(seq=0, execution="", level="", id="", final=True, at=0, body=b"")
        )
    request = len("[]") + sum(taken) + len(taken) - 1  # and commas
    assert len(taken) == 1 or request <= size
    if len(taken) < len(sizes):
        assert request + 1 + sizes[len(taken)] > size


def test_inv_R8_every_event_is_counted_once(journal: Journal) -> None:
    run, local = begun(journal), begun(journal, binding="")
    journal.append(run, make.rows(*map(str, range(10))))
    journal.append(local, make.rows("l"))
    seqs = [event.seq for event in journal.pending(binding=BINDING)]
    journal.settle(seqs[:3], State.DELIVERED)
    journal.settle(seqs[3:5], State.REFUSED, "no such field")
    journal.settle(seqs[5:6], State.EXPIRED)
    journal.settle(seqs[:6], State.EXPIRED, "the first word stays")
    tally = journal.tally(binding=BINDING)
    assert (tally.delivered, tally.refused, tally.expired) == (3, 2, 1)
    assert (tally.waiting, tally.local, tally.total) == (4, 1, 11)
    assert journal.tally(execution=local).total == 1
    assert [e.note for e in journal.events(run)][2:5] == ["", "no such field", "no such field"]


def test_many_waiting_events_go_in_full_batches(
    journal: Journal,
) -> None:
    run = begun(journal)
    for start in range(0, 20_000, 5_000):
        journal.append(run, make.rows(*map(str, range(start, start + 5_000))))
    sent = 0
    while batch := journal.pending(binding=BINDING, run=run):
        assert len(batch) == 1000
        journal.settle([event.seq for event in batch], State.DELIVERED)
        sent += len(batch)
    assert (sent, journal.tally(execution=run).delivered) == (20_000, 20_000)


def test_another_thread_has_a_connection_of_its_own(journal: Journal) -> None:
    run = begun(journal)
    journal.append(run, make.rows("s"))
    seen: list[str] = []

    def deliver() -> None:
        twin = journal.twin()
        batch = twin.pending(binding=BINDING, run=run)
        seen.extend(event.id for event in batch)
        twin.settle([event.seq for event in batch], State.DELIVERED)
        twin.close()

    thread = threading.Thread(target=deliver)
    thread.start()
    thread.join()
    assert seen == ["s"]
    assert journal.tally(execution=run).delivered == 1


# ── finding ──────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_found_by_the_start_of_its_id_or_as_the_latest(journal: Journal) -> None:
    with pytest.raises(UsageError, match="no run in"):
        journal.find("latest")
    for number, nested in (("aa11", False), ("aa22", False), ("bb33", True)):
        begun(journal, id=f"{number}0000-0000-4000-8000-000000000000", nested=nested)
    assert journal.find("aa1").id.startswith("aa11")
    assert journal.find("bb33").header.nested
    assert journal.find("latest").id.startswith("aa22")
    with pytest.raises(UsageError, match=r"start of several runs: aa22.*, aa11"):
        journal.find("aa")
    for unknown in ("cc", ""):
        with pytest.raises(UsageError, match="no run"):
            journal.find(unknown)


def test_latest_is_the_last_begun_whatever_the_clock_said(journal: Journal) -> None:
    begun(journal, start=1_900_000_000_000_000_000)
    later = begun(journal, start=0)
    assert journal.find("latest").id == later


# ── gates ────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_and_the_execution_that_goes_on_are_one_commit(journal: Journal) -> None:
    run = begun(journal)
    journal.append(run, make.blocked("approve", "sign"))
    new = make.header(resumed_from=run)
    claim = Claim(blocked=run, answers=(make.answer("approve"),))
    journal.begin(new, make.rows("p"), claim)
    assert journal.find(run).answered_by == new.execution.unique_id
    assert journal.answers(run) == {"approve": make.answer("approve")}
    assert [gate.gate for gate in journal.find(run).gates] == ["approve", "sign"]


def test_R2_R4_an_answer_to_what_does_not_wait_is_refused_and_leaves_nothing(
    journal: Journal,
) -> None:
    running, done, waits = begun(journal), begun(journal), begun(journal)
    journal.append(done, make.ended())
    journal.append(waits, make.blocked("approve"))
    before = [stored.id for stored in journal.stored()]
    for execution, gate, why in (
        (running, "approve", "has not ended"),
        (done, "approve", "ended with success"),
        ("unknown", "approve", "no execution unknown"),
        (waits, "deploy", "does not wait at gate deploy"),
    ):
        claim = Claim(blocked=execution, answers=(make.answer(gate),))
        with pytest.raises(RefusedError, match=why):
            journal.begin(make.header(), Change(), claim)
    assert [stored.id for stored in journal.stored()] == before
    assert not journal.find(waits).answered_by
    assert journal.answers(waits) == {}
    claim = Claim(blocked=waits, answers=(make.answer("approve"),))
    journal.begin(make.header(), Change(), claim)
    with pytest.raises(RefusedError, match="answered already"):
        journal.begin(make.header(), Change(), claim)


def test_R2_R3_R6_of_eight_processes_that_answer_at_once_one_wins(state: str) -> None:
    first = Journal.open(state, warn=refuse)
    runs = [begun(first) for _ in range(10)]
    for run in runs:
        first.append(run, make.blocked("approve"))
    first.close()
    gate, go = os.pipe()

    def answer(who: int) -> None:
        journal = Journal.open(state, warn=refuse)
        os.read(gate, 1)
        for run in runs:
            claim = Claim(blocked=run, answers=(make.answer("approve", f"person {who}"),))
            try:
                journal.begin(make.header(resumed_from=run), make.rows("p"), claim)
            except RefusedError:
                continue
        journal.close()

    processes = [make.fork(lambda who=who: answer(who)) for who in range(8)]  # type: ignore[misc]
    os.write(go, b"." * 8)
    assert [make.wait(process) for process in processes] == [0] * 8
    os.close(gate)
    os.close(go)
    after = Journal.open(state, warn=refuse)
    by_previous = [s.header.execution.resumed_from for s in after.stored()]
    for run in runs:
        assert by_previous.count(run) == 1
        winner = after.find(after.find(run).answered_by)
        assert winner.header.execution.resumed_from == run
        assert len(after.answers(run)) == 1
    after.close()


# ── alive or dead ────────────────────────────────────────────────────────────────────────────────


def killed(state: str, owner: Owner = OWNER) -> str:
    """An execution whose process was killed in the middle of it."""
    new = make.header(owner=owner)
    told, tell = os.pipe()

    def work() -> None:
        journal = Journal.open(state, warn=refuse)
        journal.begin(new, Change(rows=(make.row("a"),), opened=(make.opened("b"),)))
        os.write(tell, b".")
        threading.Event().wait()

    process = make.fork(work)
    os.read(told, 1)
    watcher = Journal.open(state, warn=refuse)
    assert watcher.dead(OWNER) == []  # it lives
    watcher.close()
    make.kill(process)
    os.close(told)
    os.close(tell)
    return new.execution.unique_id


def test_D12_a_killed_run_is_dead_even_if_its_pid_is_somebody_elses(state: str) -> None:
    run = killed(state)  # its pid is this process's: the lock decides
    journal, other = Journal.open(state, warn=refuse), Journal.open(state, warn=refuse)
    assert [stored.id for stored in journal.dead(OWNER)] == [run]
    assert [part.id for part in journal.opens(run)] == ["b"]
    assert other.dead(OWNER) == []  # it is being closed already
    journal.append(run, make.ended(Status.ERROR))
    assert journal.dead(OWNER) == []
    journal.close()
    other.close()


def test_a_dead_run_of_another_machine_is_left_alone(state: str) -> None:
    there = Owner(host="elsewhere", boot="another-boot", pid=1)
    killed(state, there)
    journal = Journal.open(state, warn=refuse)
    assert journal.dead(OWNER) == []
    rebooted = Owner(host="elsewhere", boot="next-boot", pid=1)
    assert len(journal.dead(rebooted)) == 1
    journal.close()


def test_another_container_on_the_same_kernel_closes_a_dead_run(state: str) -> None:
    killed(state, Owner(host="container-1", boot=OWNER.boot, pid=1))
    journal = Journal.open(state, warn=refuse)
    assert len(journal.dead(OWNER)) == 1
    journal.close()


def test_a_live_run_whose_lock_file_was_removed_is_not_dead(journal: Journal, state: str) -> None:
    run = begun(journal)
    os.unlink(os.path.join(journal.directory(run), "lock"))
    other = Journal.open(state, warn=refuse)
    assert other.dead(OWNER) == []
    other.close()


def test_an_earlier_runs_events_are_sent_by_one_process_only(state: str) -> None:
    run = killed(state)
    journal, other = Journal.open(state, warn=refuse), Journal.open(state, warn=refuse)
    journal.freeze_git(run, None)
    assert pending(journal) == ["a"]
    assert pending(other) == []
    journal.close()
    assert pending(other) == ["a"]
    other.close()


def test_the_same_execution_never_begins_twice(journal: Journal, state: str) -> None:
    new = make.header()
    journal.begin(new, Change())
    other = Journal.open(state, warn=refuse)
    with pytest.raises(RefusedError, match="is running in another process"):
        other.begin(new, Change())
    with pytest.raises(RefusedError, match="carried out already"):
        journal.begin(new, Change())
    other.close()


# ── history ──────────────────────────────────────────────────────────────────────────────────────


def test_pruning_spares_what_runs_waits_or_was_not_sent(state: str) -> None:
    journal = Journal.open(state, warn=refuse)
    done, local, undelivered, grandparent = (
        begun(journal),
        begun(journal, binding=""),
        begun(journal),
        begun(journal),
    )
    waits = begun(journal, resumed_from=grandparent)
    answered = begun(journal)
    for run in (done, local, undelivered, grandparent):
        journal.append(run, make.ended())
    journal.append(local, make.rows("l"))
    journal.append(undelivered, make.rows("u"))
    journal.append(waits, make.blocked("approve"))
    journal.append(answered, make.blocked("approve"))
    claim = Claim(blocked=answered, answers=(make.answer("approve"),))
    journal.begin(make.header(), Change(), claim)
    journal.close()

    journal = Journal.open(state, warn=refuse)
    runs = begun(journal)
    os.mkdir(os.path.join(state, "runs", "stray"))
    assert journal.prune(before=0, keep=100) == []
    assert sorted(journal.prune(before=0, keep=0)) == sorted([done, local, answered])
    left = {stored.id for stored in journal.stored()}
    assert {undelivered, grandparent, waits, runs} < left
    assert not left & {done, local, answered}
    assert set(os.listdir(os.path.join(state, "runs"))) == left
    assert parts(journal, undelivered) == ["u"]
    journal.close()


def test_pruning_by_age(state: str) -> None:
    journal = Journal.open(state, warn=refuse)
    old, new = begun(journal, start=10**18), begun(journal, start=2 * 10**18)
    for run in (old, new):
        journal.append(run, make.ended())
    journal.close()
    journal = Journal.open(state, warn=refuse)
    assert journal.prune(before=10**18 + 1, keep=100) == [old]
    assert [stored.id for stored in journal.stored()] == [new]
    journal.close()


def test_pruning_spares_what_a_young_execution_goes_on_from(state: str) -> None:
    journal = Journal.open(state, warn=refuse)
    alone, first = begun(journal, start=10**18), begun(journal, start=10**18 + 2**30)
    young = begun(journal, start=2 * 10**18, resumed_from=first)
    for run in (alone, first, young):
        journal.append(run, make.ended())
    journal.close()
    journal = Journal.open(state, warn=refuse)
    assert journal.prune(before=2 * 10**18, keep=100) == [alone]
    assert journal.prune(before=2 * 10**18, keep=1) == []
    assert sorted(journal.prune(before=2 * 10**18 + 1, keep=1)) == sorted([first, young])
    journal.close()


# ── the directory ────────────────────────────────────────────────────────────────────────────────


def test_at_the_end_one_file_is_the_state(state: str, tmp_path: Path) -> None:
    journal = Journal.open(state, warn=refuse)
    twin = journal.twin()
    run = begun(journal)
    journal.append(run, make.rows("s"))
    assert len(twin.pending(binding=BINDING)) == 1
    journal.close()  # even while another connection is open
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(os.path.join(state, "journal.db"), copy / "journal.db")
    other = Journal.read(str(copy))
    assert parts(other, run) == ["s"]
    other.close()
    twin.close()
    assert sorted(os.listdir(state)) == [".gitignore", ".lock", "journal.db", "runs"]
    assert Path(state, ".gitignore").read_bytes() == b"*\n"


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_T19_nobody_else_may_read_the_state_whatever_the_umask(state: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        journal = Journal.open(state, warn=refuse)
        begun(journal)
    finally:
        os.umask(before)
    for folder, _, files in os.walk(state):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        for file in files:
            mode = stat.S_IMODE(os.stat(os.path.join(folder, file)).st_mode)
            assert mode & 0o177 == 0, file
    assert stat.S_IMODE(os.stat(os.path.join(state, "journal.db-wal")).st_mode) == 0o600
    journal.close()


def test_looking_makes_nothing_and_sees_a_live_run(state: str) -> None:
    nothing = Journal.read(state)
    assert nothing.stored() == []
    nothing.close()
    assert not os.path.exists(state)
    journal = Journal.open(state, warn=refuse)
    run = begun(journal)
    looking = Journal.read(state)
    journal.append(run, make.rows("s"))
    assert parts(looking, run) == ["s"]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        looking._link.db.execute("DELETE FROM event")
    looking.close()
    journal.close()


def test_D16_a_journal_of_every_released_version_opens(state: str) -> None:
    os.makedirs(state, 0o700)
    script = Path(__file__).parent / "golden" / "journal-v1.sql"
    db = sqlite3.connect(os.path.join(state, "journal.db"))
    db.executescript(script.read_text(encoding="utf-8"))
    db.close()
    journal = Journal.open(state, warn=refuse)
    stored = journal.find("latest")
    assert (stored.header.execution.pipeline, stored.status) == ("Docs", Status.BLOCKED)
    assert [event.state for event in journal.events(stored.id)] == [
        State.DELIVERED,
        State.WAITING,
    ]
    assert journal.results(stored.id)["test"].outputs == {"VERSION": "1.2"}
    assert pending(journal) == ["two"]
    claim = Claim(blocked=stored.id, answers=(make.answer("approve"),))
    journal.begin(make.header(), Change(), claim)
    journal.close()
