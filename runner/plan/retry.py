"""What a retry runs again, and what it keeps of the results and answers before it.

Owns that choice alone; what becomes of the rest is decided as in every plan. Rules: interface,
sections 4 and 6; reference, 6.3.
"""

import msgspec

from runner.notice import History, Outcome, Result
from runner.plan.choice import Chosen, topological


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry runs again, each with all that depends on it: ``jobs`` and gates by name, else
    every job that did not end well and every gate that was not approved.
    """

    jobs: tuple[str, ...] = ()
    everything: bool = False


def kept(chosen: Chosen, history: History, again: Again) -> History:
    """What of the ``history`` still holds in a retry.

    An answer counts for what it was asked about: behind a job that runs again a gate is asked
    again, and so is one that was rejected or has expired. Jobs that do not run again keep their
    results, however they ended.
    """
    keys = _behind(chosen, _first(chosen, history, again))
    jobs = [leg.key for leg, _ in chosen.jobs if leg.key not in keys]
    nothing = Outcome.NOT_STARTED
    return History(
        results={key: history.results.get(key, Result(job=key, outcome=nothing)) for key in jobs},
        answers={key: answer for key, answer in history.answers.items() if key not in keys},
        left=frozenset(jobs),
    )


def _first(chosen: Chosen, history: History, again: Again) -> set[str]:
    if again.everything:
        return set(chosen.needs)
    answers = (history.answers.get(gate.key) for gate, _ in chosen.gates)
    approved = {answer.gate for answer in answers if answer and answer.approved}
    open_gates = {gate.key for gate, _ in chosen.gates} - approved
    if again.jobs:
        return open_gates.union(*map(chosen.named, again.jobs))
    well = {key for key, result in history.results.items() if result.well}
    return open_gates | {leg.key for leg, _ in chosen.jobs if leg.key not in well}


def _behind(chosen: Chosen, first: set[str]) -> set[str]:
    """These and all that depends on them."""
    found = set(first)
    for key in topological(chosen.needs):
        if not found.isdisjoint(chosen.needs[key]):
            found.add(key)
    return found
