"""The graph of needs: nothing runs before what it needs, nothing waits for a neighbour."""

from hypothesis import given
from hypothesis import strategies as st

from runner.engine.graph import Graph, LeftOut, Ready
from runner.notice import Answer, History, Outcome, Result
from runner.pipeline import Condition, Job, Pipeline
from runner.plan import Decision, make
from tests.declared import ALWAYS, FAILURE, gate, job, pipeline


def run(
    declared: Pipeline, failing: frozenset[str] = frozenset(), history: History | None = None
) -> tuple[list[str], dict[str, str]]:
    """The jobs that ran, in order, and how the others were left out."""
    graph = Graph(make(declared, history=history))
    ran: list[str] = []
    left: dict[str, str] = {}
    moves = graph.begin()
    while moves:
        move = moves.pop(0)
        match move:
            case LeftOut():
                left[move.job.key] = move.outcome.value
            case Ready():
                ran.append(move.job.key)
                bad = move.job.key in failing
                outcome = Outcome.ERROR if bad else Outcome.SUCCESS
                moves += graph.ended(Result(job=move.job.key, outcome=outcome))
    return ran, left


def test_independent_branches_finish_after_a_failure() -> None:
    two = pipeline(job("a"), job("b", "a"), job("x"), job("y", "x"))
    ran, left = run(two, frozenset({"a"}))
    assert ran == ["a", "x", "y"]
    assert left == {"b": "not started"}


def test_conditions_speak_about_needs() -> None:
    jobs = pipeline(
        job("a"),
        job("on_failure", "a", condition=FAILURE),
        job("always", "a", condition=ALWAYS),
        job("after", "on_failure"),
    )
    assert run(jobs) == (["a", "always"], {"on_failure": "skipped", "after": "skipped"})
    ran, left = run(jobs, frozenset({"a"}))
    assert (sorted(ran), left) == (["a", "after", "always", "on_failure"], {})


def test_a_failure_job_hears_of_a_failure_two_jobs_above() -> None:
    jobs = pipeline(job("a"), job("b", "a"), job("notify", "b", condition=FAILURE))
    assert run(jobs, frozenset({"a"}))[0] == ["a", "notify"]


def test_an_allowed_failure_holds_nobody_up() -> None:
    graph = Graph(make(pipeline(job("a"), job("b", "a"))))
    graph.begin()
    moves = graph.ended(Result(job="a", outcome=Outcome.ERROR, allowed=True))
    assert [type(move) for move in moves] == [Ready]


def test_a_gate_waits_only_when_what_it_needs_ended_well() -> None:
    jobs = pipeline(job("a"), gate("g", "a"), job("b", "g"))
    for outcome, waiting in ((Outcome.SUCCESS, ("g",)), (Outcome.ERROR, ())):
        graph = Graph(make(jobs))
        graph.begin()
        graph.ended(Result(job="a", outcome=outcome))
        assert graph.waiting == waiting


def test_a_rejected_gate_leaves_its_jobs_skipped() -> None:
    no = {"g": Answer(gate="g", approved=False, who="someone", at=1)}
    left = run(pipeline(gate("g"), job("b", "g")), history=History(answers=no))[1]
    assert left == {"b": "skipped"}


def test_a_chain_of_thousands_is_no_recursion() -> None:
    chain = pipeline(job("j0"), *(job(f"j{i}", f"j{i - 1}") for i in range(1, 5000)))
    ran, left = run(chain, frozenset({"j0"}))
    assert (ran, len(left)) == (["j0"], 4999)


@st.composite
def graphs(draw: st.DrawFn) -> Pipeline:
    jobs = []
    for index in range(draw(st.integers(1, 8))):
        needs = draw(st.sets(st.sampled_from([f"n{i}" for i in range(index)]))) if index else set()
        if draw(st.booleans()) or not index:
            condition = draw(st.sampled_from(Condition))
            jobs.append(job(f"n{index}", *sorted(needs), condition=condition))
        else:
            jobs.append(gate(f"n{index}", *sorted(needs)))  # type: ignore[arg-type]
    return pipeline(*jobs)


@given(graphs(), st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)))
def test_nothing_runs_before_what_it_needs_and_all_is_accounted_for(
    declared: Pipeline, failing: set[int], approved: set[int]
) -> None:
    answers = {f"n{i}": Answer(gate=f"n{i}", approved=True, who="someone", at=1) for i in approved}
    history = History(answers=answers)
    plan = make(declared, history=history)
    ran, left = run(declared, frozenset(f"n{i}" for i in failing), history)
    for key in ran:
        needs = next(n.needs for n in declared.jobs if n.key == key)
        settled = set(ran[: ran.index(key)]) | set(left)
        jobs = {n.key for n in declared.jobs if isinstance(n, Job)}
        assert all(need in settled for need in needs if need in jobs)
    waiting = {j.key for j in plan.jobs if j.decision is Decision.WAIT}
    assert set(ran) | set(left) | waiting == {j.key for j in plan.jobs}
    assert not waiting & (set(ran) | set(left))
