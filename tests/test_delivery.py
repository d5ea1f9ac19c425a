"""Journal to intake, over real SQLite and real sockets: what arrives, what waits, how long.

Each id is one of the reference's faults. The account always balances (``Place.tally``), and the
intake judges all that it was sent.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from runner.delivery import Pace
from runner.event import Status
from runner.intake.http import Intake
from runner.journal import State, Tally
from tests.delivery_place import GIT, QUICK, SHORT, Place, Run
from tests.intake_server import Answer, Fault, Rule, intake

HOLDS = (200, 301, 401, 403, 404, 501, 511)
RETRIES = (408, 429, 500, 502, 503, 504)
REFUSALS = (400, 413)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with intake() as server:
        one = Place(tmp_path / "state", server)
        yield one
        one.journal.close()


def arrived(place: Place, run: Run, count: int = 0) -> None:
    """Wait until so many events of the run (0: all so far) are settled as delivered."""
    wanted = count or run.count
    place.server.wait(lambda: tally(place, run).delivered >= wanted)


def tally(place: Place, run: Run) -> Tally:
    """The account while it moves, so that it need not balance."""
    return place.journal.tally(execution=run.id, binding=place.target.binding)


# ── the fault-free run ───────────────────────────────────────────────────────────────────────────


def test_events_leave_while_steps_run_and_all_have_left_at_the_end(place: Place) -> None:
    run = place.run()
    delivery = place.deliver(run)
    arrived(place, run)
    run.append(run.job(Status.RUNNING))
    run.steps(3)
    delivery.observe(())
    arrived(place, run)
    run.finish()
    done = delivery.finish()
    assert (done.sent, done.waiting, done.message) == (run.count, 0, "")
    assert len(place.server.events) == run.count
    place.server.check(secrets=["0123456789abcdef0123456789abcdef"])


def test_finish_takes_milliseconds_when_everything_is_up(place: Place) -> None:
    run = place.run()
    delivery = place.deliver(run, Pace())
    arrived(place, run)
    run.steps(5)
    run.finish()
    began = time.monotonic()
    delivery.finish()
    assert time.monotonic() - began < 0.2
    assert place.tally(run).waiting == 0


def test_many_steps_are_few_requests(place: Place) -> None:
    run = place.run()
    began = time.monotonic()
    delivery = place.deliver(run, msgspec.structs.replace(QUICK, linger=0.1))
    for _ in range(100):
        run.steps(3)
        delivery.observe(())
        time.sleep(0.002)
    run.finish()
    delivery.finish()
    assert place.tally(run).delivered == run.count
    assert len(place.server.requests) <= 3 + (time.monotonic() - began) / 0.1


def test_N41_a_request_holds_a_thousand_events_and_four_megabytes(place: Place) -> None:
    run = place.run()
    run.steps(1500)
    run.append(*[run.step("x" * 900_000) for _ in range(10)])
    place.deliver(run).finish()
    assert place.tally(run).delivered == run.count
    assert len(place.server.requests) == 4
    place.server.check()


def test_what_is_superseded_while_it_waits_is_never_sent(place: Place) -> None:
    run = place.run(git=False)
    run.append(run.job(Status.RUNNING))
    run.steps(1)
    run.finish()
    place.journal.freeze_git(run.id, GIT)
    place.deliver(run).finish()
    assert [event["status"] for event in place.server.events] == ["success"] * 3
    assert place.tally(run).superseded == 2
    place.server.check()


# ── every status, at first, middle and last event ────────────────────────────────────────────────


@pytest.mark.parametrize("status", [*HOLDS, *RETRIES, *REFUSALS])
def test_N13_to_N25_a_status_at_first_middle_and_last_event_loses_nothing(
    place: Place, status: int
) -> None:
    bad = Answer(status=status)
    run = place.run()
    run.append(run.job(Status.RUNNING))
    run.steps(2)
    place.server.script([bad])
    delivery = place.deliver(run)
    arrived(place, run)
    place.server.script([bad])
    run.steps(2)
    delivery.observe(())
    arrived(place, run)
    place.server.script([bad])
    run.finish()
    done = delivery.finish()
    if status in HOLDS:
        assert f"(HTTP {status})" in done.message
        assert done.waiting == 2
        place.flush()
    settled = place.tally(run)
    assert (settled.delivered, settled.waiting, settled.refused) == (run.count, 0, 0)
    place.server.check()


# ── a network that comes and goes ────────────────────────────────────────────────────────────────


def test_N1_a_backend_that_is_down_all_the_time_keeps_everything_waiting(place: Place) -> None:
    place.server.close()
    run = place.run()
    delivery = place.deliver(run, SHORT)
    run.steps(4)
    run.finish()
    began = time.monotonic()
    done = delivery.finish()
    assert time.monotonic() - began < SHORT.unreachable + 0.3
    assert done.waiting == run.count - 1
    assert "connection refused" in done.message
    assert "`signalbox flush`" in done.message
    with intake(port=place.server.port) as again:
        assert place.flush().waiting == 0
        again.check()


def test_N2_a_backend_that_comes_up_midway_gets_everything(place: Place) -> None:
    place.server.close()
    run = place.run()
    delivery = place.deliver(run)
    run.append(run.job(Status.RUNNING))
    run.steps(4)
    delivery.observe(())
    time.sleep(0.05)
    with intake(port=place.server.port) as again:
        arrived(place, run)
        run.finish()
        assert delivery.finish().waiting == 0
        again.check()


def test_N3_a_backend_that_goes_down_at_the_end_leaves_the_tail_waiting(place: Place) -> None:
    run = place.run()
    delivery = place.deliver(run, SHORT)
    run.steps(4)
    delivery.observe(())
    arrived(place, run)
    place.server.close()
    run.finish()
    done = delivery.finish()
    assert (done.sent, done.waiting) == (run.count - 2, 2)
    with intake(port=place.server.port):
        assert place.flush(run.id).waiting == 0


def test_N4_a_flapping_backend_gets_all_and_is_not_hammered(place: Place) -> None:
    began = time.monotonic()
    place.server.rule = lambda _: (
        Answer(status=503) if int((time.monotonic() - began) / 0.05) % 2 else None
    )
    run = place.run()
    delivery = place.deliver(run)
    while time.monotonic() < began + 0.3:
        run.steps(1)
        delivery.observe(())
        time.sleep(0.005)
    run.finish()
    assert delivery.finish().waiting == 0
    assert len(place.server.requests) < 60
    place.server.check()


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.RESET, Fault.HALF_CLOSE, Fault.GARBAGE])
def test_N33_N34_N35_a_lost_answer_costs_one_resend_of_the_same_bytes(
    place: Place, fault: Fault
) -> None:
    run = place.run()
    run.steps(2)
    place.server.script([Answer(fault=fault)])
    delivery = place.deliver(run)
    arrived(place, run)
    run.finish()
    delivery.finish()
    assert place.server.requests[0].body == place.server.requests[1].body
    place.server.check()


def test_N43_an_answer_after_the_limit_leads_to_one_event(place: Place) -> None:
    run = place.run()
    place.server.script([Answer(delay=0.15)])
    delivery = place.deliver(run, msgspec.structs.replace(QUICK, attempt=0.05))
    arrived(place, run)
    run.finish()
    delivery.finish()
    assert place.server.requests[0].body == place.server.requests[1].body
    place.server.check()


def test_N26_the_server_says_how_long_to_wait(place: Place) -> None:
    place.server.script([Answer(status=429, headers={"X-RateLimit-Reset": "0.12"})])
    run = place.run()
    delivery = place.deliver(run)
    arrived(place, run)
    delivery.finish()
    first, second = (request.at for request in place.server.requests)
    assert 0.11 < second - first < 0.4


def test_N26_an_exit_does_not_wait_for_a_time_beyond_its_budget(place: Place) -> None:
    place.server.script([Answer(status=429, headers={"Retry-After": "100"})])
    run = place.run()
    delivery = place.deliver(run)
    place.server.wait(lambda: bool(place.server.requests))
    run.finish()
    began = time.monotonic()
    done = delivery.finish()
    assert time.monotonic() - began < 0.15
    assert done.waiting == 2
    assert len(place.server.requests) == 1


def test_N30_on_a_slow_line_less_is_sent_at_once(place: Place) -> None:
    run = place.run()
    run.append(*[run.step("x" * 4000) for _ in range(100)])
    place.server.rule = lambda request: (
        Answer(fault=Fault.HANG_HEAD, stored=False) if len(request.body) > 250_000 else None
    )
    delivery = place.deliver(run, msgspec.structs.replace(QUICK, attempt=0.05))
    arrived(place, run)
    run.finish()
    delivery.finish()
    place.server.check()


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────


def poison(marker: bytes, status: int = 400) -> Rule:
    body = b'{"errors":[{"title":"Invalid","detail":"this event is no good"}]}'
    return lambda request: Answer(status=status, body=body) if marker in request.body else None


def test_N42_one_poisoned_event_in_a_thousand_costs_22_requests(place: Place) -> None:
    run = place.run()
    run.steps(680)
    run.append(run.step("POISON"))
    run.steps(317)
    run.append(run.job(Status.SUCCESS))
    place.server.rule = poison(b"POISON")
    done = place.deliver(run).finish()
    assert run.count == 1000
    assert (done.sent, done.refused, done.waiting) == (999, 1, 0)
    assert "this event is no good" in done.message
    assert len(place.server.requests) <= 22
    notes = [event.note for event in place.journal.events(run.id) if event.state is State.REFUSED]
    assert len(notes) == 1
    assert "this event is no good" in notes[0]
    place.server.check()


def test_an_intake_without_running_jobs_is_sent_no_more_of_them(place: Place) -> None:
    place.server.rule = lambda request: (
        Answer(status=400)
        if any(
            b'"level":"job"' in part and b'"running"' in part for part in request.body.split(b"}},")
        )
        else None
    )
    run = place.run()
    delivery = place.deliver(run)
    for number in range(20):
        run.append(run.job(Status.RUNNING, f"job {number}"))
    delivery.observe(())
    place.server.wait(lambda: not tally(place, run).waiting)
    settled = tally(place, run)
    assert (settled.delivered, settled.refused, settled.superseded) == (1, 1, 19)
    assert len(place.server.requests) <= 8
    run.append(run.job(Status.RUNNING, "late"))
    run.append(*[run.job(Status.SUCCESS, f"job {number}") for number in range(20)])
    run.append(run.job(Status.SUCCESS, "late"), run.pipeline(Status.SUCCESS))
    delivery.finish()
    assert place.tally(run).delivered == 1 + 22
    place.server.check()


def test_N41_too_large_a_request_is_halved_and_too_large_an_event_is_kept(place: Place) -> None:
    run = place.run()
    run.append(*[run.step("x" * 2000) for _ in range(100)], run.step("y" * 60_000))
    run.finish()
    place.server.rule = lambda request: Answer(status=413) if len(request.body) > 50_000 else None
    done = place.deliver(run).finish()
    assert (done.refused, done.waiting) == (1, 0)
    assert "too large" in done.message
    assert place.tally(run).delivered == run.count - 2
    place.server.check()


def test_C8_what_is_older_than_18_hours_is_told_and_kept_apart(place: Place) -> None:
    old = place.run(age=18 * 3600 + 60)
    old.steps(3)
    young = place.run(age=17.9 * 3600)
    done = place.flush()
    assert (done.sent, done.expired, done.waiting) == (1, 4, 0)
    assert "older than 18 h" in done.message
    assert place.tally(old).expired == 4
    assert place.tally(young).delivered == 1


# ── holding ──────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_key_is_told_once_and_ends_an_exit_at_once(place: Place) -> None:
    place.server.default = Answer(status=403)
    run = place.run()
    delivery = place.deliver(run)
    place.server.wait(lambda: len(place.server.requests) > 2)
    run.finish()
    began = time.monotonic()
    done = delivery.finish()
    assert time.monotonic() - began < 0.1
    assert len(place.warnings) == 1
    assert "refused the API key (HTTP 403)" in place.warnings[0]
    assert "refused the API key (HTTP 403)" in done.message
    assert done.waiting == 2
    place.server.default = Answer()
    assert place.flush().waiting == 0
    place.server.check()


def test_a_key_that_becomes_good_is_noticed(place: Place) -> None:
    place.server.script([Answer(status=403)] * 2)
    run = place.run()
    delivery = place.deliver(run)
    arrived(place, run)
    run.finish()
    assert delivery.finish().waiting == 0


# ── whose events ─────────────────────────────────────────────────────────────────────────────────


def test_events_of_another_site_or_key_stay_and_are_told(place: Place) -> None:
    other, own = place.run(binding="f00"), place.run()
    done = place.flush()
    assert (done.sent, done.held) == (1, 1)
    assert "another site or key" in done.message
    assert place.tally(other).held == 1
    assert place.tally(own).delivered == 1
    assert place.flush(other.id).sent == 1
    place.server.check()


def test_a_run_tells_of_events_of_another_site_or_key(place: Place) -> None:
    place.run(binding="f00")
    run = place.run()
    delivery = place.deliver(run)
    arrived(place, run)
    delivery.observe(())
    time.sleep(0.1)
    run.finish()
    done = delivery.finish()
    assert (done.waiting, done.held) == (0, 1)
    assert done.message == (
        "1 event is of another site or key; `signalbox flush RUN` sends them here"
    )


def test_a_flush_gives_up_on_a_dead_host_and_keeps_at_a_busy_one(place: Place) -> None:
    run = place.run()
    place.server.script([Answer(status=503)] * 5)
    assert place.flush().waiting == 0
    run.finish()
    place.server.close()
    began = time.monotonic()
    done = place.flush()
    assert time.monotonic() - began < 0.5
    assert done.waiting == 2
    assert "connection refused" in done.message


def test_a_local_execution_is_sent_only_by_name(place: Place) -> None:
    local = place.run(binding="")
    assert place.flush().sent == 0
    assert not place.server.requests
    assert place.flush(local.id).sent == 1


def test_the_backlog_goes_while_steps_run_but_not_at_exit(tmp_path: Path) -> None:
    with intake() as server:
        place = Place(tmp_path / "state", server)
        earlier = place.run()
        earlier.steps(5)
        place.journal.close()
        place = Place(tmp_path / "state", server)
        run = place.run()
        server.default = Answer(status=503)
        delivery = place.deliver(run)
        server.wait(lambda: bool(server.requests))
        server.default = Answer()
        run.finish()
        done = delivery.finish()
        assert place.tally(run).waiting == 0
        assert done.waiting == 0
        another = place.deliver(place.run())
        arrived(place, earlier)
        another.finish()
        place.journal.close()


# ── the budget of an exit ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "interrupted", "limit"),
    [
        (Answer(fault=Fault.HANG_HEAD), False, SHORT.stall),
        (Answer(fault=Fault.HANG_HEAD), True, SHORT.interrupted),
        (Answer(fault=Fault.HANG_ACCEPT), False, SHORT.stall),
        (Answer(status=503), False, SHORT.stall),
        (Answer(status=503), True, SHORT.interrupted),
    ],
)
@pytest.mark.parametrize("before", [True, False], ids=["tried-before", "first-try"])
def test_an_exit_ends_without_progress(
    place: Place, answer: Answer, interrupted: bool, limit: float, before: bool
) -> None:
    place.server.script([answer] * 100)
    run = place.run()
    if not before:
        run.finish()
    delivery = place.deliver(run, msgspec.structs.replace(SHORT, attempt=15.0))
    if before:
        time.sleep(0.05)
        run.finish()
    began = time.monotonic()
    done = delivery.finish(interrupted=interrupted)
    assert time.monotonic() - began < limit + 0.4
    assert done.waiting == 2
    assert done.message


def test_an_exit_goes_on_while_there_is_progress_until_its_budget(place: Place) -> None:
    place.server.rule = lambda request: Answer(
        status=413 if len(request.body) > 20_000 else 202, delay=0.02
    )
    run = place.run()
    run.append(*[run.step("x" * 5000) for _ in range(200)])
    delivery = place.deliver(run, msgspec.structs.replace(SHORT, stall=0.3))
    while not place.server.events:
        time.sleep(0.001)
    began = time.monotonic()
    done = delivery.finish(budget=0.4)
    assert time.monotonic() - began > 0.3
    assert done.waiting > 0
    assert done.sent > 0
    assert done.sent + done.waiting == run.count


def test_a_budget_of_nothing_sends_nothing(place: Place) -> None:
    run = place.run()
    place.server.default = Answer(fault=Fault.HANG_HEAD)
    assert place.deliver(run).finish(budget=0).waiting == 1


# ── the commit ───────────────────────────────────────────────────────────────────────────────────


def test_events_wait_for_the_commit(place: Place) -> None:
    run = place.run(git=False)
    delivery = place.deliver(run, msgspec.structs.replace(QUICK, git=5))
    run.finish()
    timer = threading.Timer(0.1, lambda: freeze(place, run))
    timer.start()
    assert delivery.finish().waiting == 0
    timer.join()
    assert all(event["git"]["branch"] == "main" for event in place.server.events)
    assert not place.warnings


def freeze(place: Place, run: Run) -> None:
    journal = place.journal.twin()
    journal.freeze_git(run.id, GIT)
    journal.close()


@pytest.mark.parametrize("ended", [True, False])
def test_a_commit_that_cannot_be_read_in_time_is_left_out(place: Place, ended: bool) -> None:
    run = place.run(git=False)
    delivery = place.deliver(run)
    if not ended:
        arrived(place, run)
    run.finish()
    assert delivery.finish().waiting == 0
    assert place.warnings == [
        "the commit could not be read within 0.1 s: events are sent without it"
    ]
    assert all("git" not in event for event in place.server.events)
    assert not place.journal.freeze_git(run.id, GIT)
    place.server.check()


# ── what is wrong in the thread ──────────────────────────────────────────────────────────────────


def test_a_defect_becomes_a_message_and_keeps_the_events(place: Place) -> None:
    def broken() -> Intake:
        raise RuntimeError("0123456789abcdef0123456789abcdef")

    place.connect = broken  # type: ignore[method-assign]
    run = place.run()
    delivery = place.deliver(run)
    run.finish()
    done = delivery.finish()
    assert done.waiting == 2
    assert done.message.startswith("delivery stopped on RuntimeError in ")
    assert "0123456789abcdef" not in done.message + "".join(place.warnings)


def test_an_execution_that_never_began_costs_no_time(place: Place) -> None:
    run = place.run()
    run.id = "no-such-execution"
    began = time.monotonic()
    place.deliver(run).finish()
    assert time.monotonic() - began < 0.2


def test_C3_a_clock_that_is_off_is_told_once(place: Place) -> None:
    date = {"Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    place.server.default = Answer(headers=date)
    run = place.run()
    delivery = place.deliver(run)
    arrived(place, run)
    run.finish()
    delivery.finish()
    assert len(place.warnings) == 1
    assert "clock is" in place.warnings[0]


def test_D9_a_backlog_is_drained_in_full_batches(place: Place) -> None:
    run = place.run()
    for _ in range(5):
        run.steps(1000)
    assert place.flush().sent == 5001
    assert len(place.server.requests) == 6
    place.server.check()
