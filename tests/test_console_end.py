"""The picture at the end of a run: bars in true proportion, and of many rows those that matter."""

from runner.event import Event, Status
from runner.report import tell
from runner.report.tree import MOST, waterfall
from runner.terminal import Look, cells
from tests.told import failing, failure, job, pipeline, step

LOOK = Look(width=80)
PICTURE = """\
check                    2.0 s  ────────────────────────────────────────────────
  ✗ a                    1.0 s  ━━━━━━━━━━━━━━━━━━━━━━━━
    ✓ install           400 ms  ━━━━━━━━━╸
    ✗ test              600 ms           ╺━━━━━━━━━━━━━━
  ✓ b · queued 500 ms    1.0 s              ············━━━━━━━━━━━━━━━━━━━━━━━━
  ━ critical path 2.0 s: a → b"""


def test_stages_jobs_and_steps_stand_with_their_times() -> None:
    broken = failure("no")
    events: list[Event] = [
        step("a", "install", 0, 400),
        step("a", "test", 400, 1000, Status.ERROR, error=broken),
        job("a", 0, 1000, Status.ERROR, error=broken),
        job("b", 1000, 2000, queue_time=500),
        pipeline(Status.ERROR, 2000),
    ]
    assert "\n".join(waterfall(tell(events), LOOK)) == PICTURE


def test_what_is_told_below_is_not_told_twice() -> None:
    events, beside = failing()
    text = "\n".join(waterfall(tell(events, beside), LOOK))
    assert "assert 1 == 2" not in text
    assert "team:web" not in text
    assert "attempt 1" in text


def test_of_many_steps_the_jobs_and_what_failed_are_shown_and_of_many_jobs_what_matters() -> None:
    broken = failure("no")
    events: list[Event] = [step("a", f"s{n}", n, n + 1) for n in range(1000)]
    events.append(step("a", "bad", 1000, 1001, Status.ERROR, error=broken))
    events += [job("a", 0, 1001, Status.ERROR, error=broken), pipeline(Status.ERROR, 1001)]
    lines = waterfall(tell(events), LOOK)
    assert [line.split()[1] for line in lines if "✗" in line] == ["a", "bad"]
    assert lines[-1] == "… and 1000 more: signalbox show"
    jobs: list[Event] = [job(f"j{n}", n * 10, n * 10 + 9) for n in range(1000)]
    jobs[500] = job("j500", 0, 5, Status.ERROR, error=broken)
    text = waterfall(tell([*jobs, pipeline(Status.ERROR, 9999)]), LOOK)
    assert any("✗ j500" in line for line in text)


def test_bars_have_room_beside_long_names() -> None:
    events: list[Event] = [
        job("a job of a very long name " * 9, 0, 90),
        pipeline(Status.SUCCESS, 90),
    ]
    for width in (48, 80, 200):
        lines = waterfall(tell(events), Look(width=width))
        assert all(cells(line) <= width for line in lines)
        assert sum(char == "━" for char in lines[1]) >= min(width * 2 // 5 - 1, 59)
    assert MOST > 0


def test_a_step_that_was_stopped_is_no_failure() -> None:
    stopped = failure("SIGINT", "Canceled")
    events: list[Event] = [
        step("a", "test", 0, 400, Status.ERROR, error=stopped),
        job("a", 0, 400, Status.CANCELED, error=stopped),
        pipeline(Status.CANCELED, 400),
    ]
    text = "\n".join(waterfall(tell(events), LOOK))
    assert ("■ test" in text, "✗" in text) == (True, False)
