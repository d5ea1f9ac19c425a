"""The plan: what runs, what is done, what waits behind a gate, what each leg is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.notice import Answer, History, Outcome, Result
from runner.pipeline import Gate, Job, Parameter
from runner.plan import Again, Decision, Selection, make, outputs
from tests.declared import gate, job, pipeline

BUILD_TO_DEPLOY = pipeline(
    job("build"), job("test", "build"), gate("approve", "test"), job("deploy", "approve")
)


def well(*keys: str) -> dict[str, Result]:
    return {key: Result(job=key, outcome=Outcome.SUCCESS) for key in keys}


def answer(name: str, *, approved: bool = True) -> dict[str, Answer]:
    return {name: Answer(gate=name, approved=approved, who="someone", at=1)}


def decisions(plan: object) -> dict[str, str]:
    return {n.key: n.decision.value for n in (*plan.jobs, *plan.gates)}  # type: ignore[attr-defined]


def test_jobs_behind_an_unanswered_gate_belong_to_the_next_execution() -> None:
    expected = {"build": "run", "test": "run", "approve": "wait", "deploy": "wait"}
    assert decisions(make(BUILD_TO_DEPLOY)) == expected


def test_an_approved_gate_lets_the_rest_run_and_nothing_else() -> None:
    history = History(results=well("build", "test"), answers=answer("approve"))
    expected = {"build": "done", "test": "done", "approve": "done", "deploy": "run"}
    assert decisions(make(BUILD_TO_DEPLOY, history=history)) == expected


def test_a_rejected_gate_cuts_off_what_stands_behind_it() -> None:
    history = History(results=well("build", "test"), answers=answer("approve", approved=False))
    assert decisions(make(BUILD_TO_DEPLOY, history=history))["deploy"] == "cut"


def test_one_of_two_gates_answered_opens_its_own_branch_alone() -> None:
    two = pipeline(gate("a"), gate("b"), job("x", "a"), job("y", "b"), job("z", "x", "y"))
    made = decisions(make(two, history=History(answers=answer("a"))))
    assert made == {"a": "done", "b": "wait", "x": "run", "y": "wait", "z": "wait"}


@pytest.mark.parametrize("selection", [Selection(only=("deploy",)), Selection(jobs=("deploy",))])
def test_a_selection_never_walks_round_a_gate(selection: Selection) -> None:
    made = decisions(make(BUILD_TO_DEPLOY, selection=selection))
    assert made["deploy"] == made["approve"] == "wait"


def test_a_gate_above_a_job_that_was_not_selected_still_stands() -> None:
    far = pipeline(gate("approve"), job("build", "approve"), job("deploy", "build"))
    plan = make(far, selection=Selection(only=("deploy",)))
    assert decisions(plan) == {"deploy": "wait", "approve": "wait"}
    assert plan.jobs[0].needs == ("approve",)


def test_only_runs_a_job_without_what_it_needs_and_job_with_it() -> None:
    assert [j.key for j in make(BUILD_TO_DEPLOY, selection=Selection(only=("test",))).jobs] == [
        "test"
    ]
    assert [j.key for j in make(BUILD_TO_DEPLOY, selection=Selection(jobs=("test",))).jobs] == [
        "build",
        "test",
    ]


def test_legs_carry_their_values_in_key_and_name() -> None:
    axes = {"PYTHON": ("3.11", "3.12"), "OS": ("slim",)}
    plan = make(pipeline(job("test", matrix=axes), job("ship", "test")))
    assert [j.key for j in plan.jobs] == ["test (3.11, slim)", "test (3.12, slim)", "ship"]
    assert plan.jobs[2].needs == ("test (3.11, slim)", "test (3.12, slim)")


def test_a_name_that_tells_all_axes_gets_nothing_appended() -> None:
    plan = make(pipeline(job("test", name="Python $V", matrix={"V": ("1", "2")})))
    assert [j.name for j in plan.jobs] == ["Python 1", "Python 2"]
    assert plan.jobs[0].key == "test (1)"


def test_all_legs_or_one_can_be_selected() -> None:
    legs = pipeline(job("test", matrix={"V": ("1", "2")}))
    assert len(make(legs, selection=Selection(jobs=("test",))).jobs) == 2
    assert [j.key for j in make(legs, selection=Selection(only=("test (2)",))).jobs] == ["test (2)"]


def test_an_unknown_job_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError) as error:
        make(BUILD_TO_DEPLOY, selection=Selection(jobs=("tset",)))
    assert "tset" in error.value.message
    assert "build, test, deploy" in error.value.hint


def test_wrong_parameters_are_named_all_at_once() -> None:
    declared = {
        "TARGET": Parameter(default="staging", choices=("staging", "production")),
        "VERSION": Parameter(),
    }
    with pytest.raises(UsageError) as error:
        make(pipeline(job("a"), parameters=declared), given={"TARGET": "moon", "COLOR": "red"})
    assert all(word in error.value.message for word in ("COLOR", "TARGET", "moon", "VERSION"))


def test_the_later_in_needs_gives_the_output_and_legs_that_differ_are_named() -> None:
    plan = make(
        pipeline(
            job("a"), job("b", matrix={"V": ("1", "2")}), gate("g", "a"), job("c", "b", "g", "a")
        )
    )
    last = plan.jobs[-1]
    assert last.upstream == ("b (1)", "b (2)", "a")
    seen, differ = outputs(
        last, {"a": {"X": "a"}, "b (1)": {"X": "1", "Y": "1"}, "b (2)": {"Y": "2"}}
    )
    assert seen == {"X": "a", "Y": "2"}
    assert differ == ("Y",)


def test_an_output_that_was_withheld_is_missed_in_planning() -> None:
    steps = pipeline(job("a"), gate("g", "a"), job("b", "g", runs=("curl -H $TOKEN_X",)))
    left = {"a": Result(job="a", outcome=Outcome.SUCCESS, withheld=("TOKEN_X",))}
    with pytest.raises(UsageError, match="TOKEN_X"):
        make(steps, history=History(results=left, answers=answer("g")))


def test_a_failed_job_of_an_earlier_execution_runs_again() -> None:
    left = {"build": Result(job="build", outcome=Outcome.ERROR)}
    assert make(BUILD_TO_DEPLOY, history=History(results=left)).jobs[0].decision is Decision.RUN


# ── retries ──────────────────────────────────────────────────────────────────────────────────────

FAILED = History(
    results=well("build") | {"test": Result(job="test", outcome=Outcome.ERROR)},
    answers=answer("approve"),
)


def test_a_retry_runs_what_failed_and_what_depends_on_it_through_gates_too() -> None:
    made = make(BUILD_TO_DEPLOY, history=FAILED, again=Again())
    assert decisions(made) == {"build": "done", "test": "run", "approve": "wait", "deploy": "wait"}


def test_an_answer_counts_as_long_as_nothing_before_its_gate_runs_again() -> None:
    history = History(results=well("build", "test"), answers=answer("approve"))
    made = make(BUILD_TO_DEPLOY, history=history, again=Again(jobs=("deploy",)))
    assert decisions(made) == {"build": "done", "test": "done", "approve": "done", "deploy": "run"}
    made = make(BUILD_TO_DEPLOY, history=history, again=Again(jobs=("test",)))
    assert decisions(made)["approve"] == "wait"
    made = make(BUILD_TO_DEPLOY, history=history, again=Again(jobs=("approve",)))
    assert decisions(made) == {"build": "done", "test": "done", "approve": "wait", "deploy": "wait"}


def test_all_runs_everything_and_asks_everything() -> None:
    history = History(results=well("build", "test", "deploy"), answers=answer("approve"))
    made = make(BUILD_TO_DEPLOY, history=history, again=Again(everything=True))
    assert decisions(made) == {"build": "run", "test": "run", "approve": "wait", "deploy": "wait"}


def test_a_rejection_is_not_carried_into_a_retry() -> None:
    history = History(
        results=well("build", "test") | {"deploy": Result(job="deploy", outcome=Outcome.SKIPPED)},
        answers=answer("approve", approved=False),
    )
    made = make(BUILD_TO_DEPLOY, history=history, again=Again())
    assert decisions(made) == {"build": "done", "test": "done", "approve": "wait", "deploy": "wait"}


def test_failed_jobs_that_a_retry_leaves_are_no_success() -> None:
    two = pipeline(job("a"), job("b"), job("c", "a"))
    made = make(two, history=History(), again=Again(jobs=("b",)))
    assert decisions(made) == {"a": "done", "b": "run", "c": "done"}
    assert made.broken
    assert not make(two, history=History(), again=Again()).broken


def test_a_gate_that_nobody_answered_waits_beside_what_a_retry_runs() -> None:
    two = pipeline(gate("g"), job("a", "g"), job("b"))
    made = make(two, history=History(), again=Again(jobs=("b",)))
    assert decisions(made) == {"g": "wait", "a": "wait", "b": "run"}
    assert not made.broken


def test_a_job_that_failed_and_may_is_not_retried() -> None:
    allowed = {"a": Result(job="a", outcome=Outcome.ERROR, allowed=True)}
    two = pipeline(job("a"), job("b"))
    made = make(two, history=History(results=allowed), again=Again())
    assert decisions(made) == {"a": "done", "b": "run"}


def test_a_retry_of_an_unknown_job_names_those_there_are() -> None:
    with pytest.raises(UsageError) as error:
        make(BUILD_TO_DEPLOY, again=Again(jobs=("tset",)))
    assert "build, test, deploy" in error.value.hint
    with pytest.raises(UsageError, match="no part"):
        make(BUILD_TO_DEPLOY, selection=Selection(only=("test",)), again=Again(jobs=("build",)))


@st.composite
def pasts(draw: st.DrawFn) -> tuple[list[Job | Gate], History]:
    """A graph of jobs and gates, each needing some before it, and how they ended once."""
    nodes: list[Job | Gate] = []
    results: dict[str, Result] = {}
    answers: dict[str, Answer] = {}
    for key in "abcdefg"[: draw(st.integers(1, 7))]:
        needs = [node.key for node in nodes if draw(st.booleans())]
        if draw(st.integers(0, 3)):
            nodes.append(job(key, *needs))
            outcome = draw(st.none() | st.sampled_from(Outcome))
            results |= {key: Result(job=key, outcome=outcome)} if outcome else {}
        else:
            nodes.append(gate(key, *needs))
            approved = draw(st.none() | st.booleans())
            answers |= answer(key, approved=approved) if approved is not None else {}
    return nodes, History(results=results, answers=answers)


@given(past=pasts())
def test_what_runs_again_is_what_did_not_end_well_and_all_that_depends_on_it(
    past: tuple[list[Job | Gate], History],
) -> None:
    nodes, history = past
    again: set[str] = set()
    for node in nodes:  # each stands after what it needs
        if isinstance(node, Gate):
            given_once = history.answers.get(node.key)
            well = bool(given_once and given_once.approved)
        else:
            result = history.results.get(node.key)
            well = bool(result and result.outcome in {Outcome.SUCCESS, Outcome.SKIPPED})
        if not well or again.intersection(node.needs):
            again.add(node.key)
    made = make(pipeline(*nodes, job("z")), history=history, again=Again())
    not_done = {key for key, decision in decisions(made).items() if decision != "done"}
    assert not_done == again | {"z"}
    assert not made.broken
    assert "cut" not in decisions(made).values()
