"""``--ask``: a gate is put to the person at the terminal, and the run goes on in this process.

Owns the questions. An answer goes the way of ``resume``: the same checks, the same claim, another
execution with the same events.
"""

import os
import sys
from collections.abc import Mapping
from typing import Final

import msgspec

from runner.cli import answer, launch, places
from runner.cli.answer import Said
from runner.cli.request import Request
from runner.cli.setup import Setup
from runner.journal import Stored
from runner.notice import GateWaiting
from runner.pipeline import Kind, Parameter
from runner.terminal import plain

_WORDS: Final = {
    **dict.fromkeys(("a", "approve", "y", "yes"), True),
    **dict.fromkeys(("r", "reject", "n", "no"), False),
    **dict.fromkeys(("", "l", "later"), None),
}


def possible() -> bool:
    """Whether somebody sits there to be asked."""
    return os.isatty(0) and os.isatty(2)


def onward(setup: Setup, run: str) -> Request | None:
    """Ask at every gate that ``run`` waits at; the execution that goes on. None: that is for later.

    Raises as ``resume`` does when somebody else has answered meanwhile, or may not.
    """
    options = setup.request.options
    state = places.state(options.state, setup.environ, setup.request.place.workspace)
    journal = launch.open_journal(state, os.path.dirname(state), setup.voice.warn, setup.environ)
    try:
        stored = journal.find(run)
    finally:
        journal.close()
    try:
        said = _Talk(setup, stored).said()
    except EOFError:
        return None
    if not said.approved and not said.rejected:
        return None
    options = msgspec.structs.replace(options, state=state)
    return answer.request(run, said, options, setup.environ, accept_changed=False)


class _Talk:
    """One conversation, on standard error and standard input."""

    def __init__(self, setup: Setup, stored: Stored) -> None:
        self._mask, self._stored = setup.masker.text, stored
        self._person = answer.who(setup.environ)
        self._fields: dict[str, str] = {}

    def said(self) -> Said:
        """The answers; raises ``EOFError`` when the person has gone."""
        answers = {gate.gate: self._answer(gate) for gate in self._stored.gates}
        rejected = tuple(gate for gate, approved in answers.items() if approved is False)
        return Said(
            approved=tuple(gate for gate, approved in answers.items() if approved),
            rejected=rejected,
            reason=self._ask("Why?") if rejected else "",
            fields=self._fields,
        )

    def _answer(self, gate: GateWaiting) -> bool | None:
        """None: later."""
        self._say(f"\n{gate.gate}: {self._mask(gate.question)}")
        refused = answer.refusal(gate, self._stored, self._person)
        if refused:
            self._say(refused.message)
            return None
        said = "?"
        while said not in _WORDS:
            said = self._ask("[a]pprove, [r]eject or [l]ater?").lower()
        approved = _WORDS[said]
        if approved:
            self._fill(gate.fields)
        return approved

    def _fill(self, fields: Mapping[str, Parameter]) -> None:
        for name, field in fields.items():
            while name not in self._fields:
                given = self._ask(_prompt(name, field)) or field.default
                if given is None:
                    self._say("it has no default")
                elif expected := field.refusal(given):
                    self._say(expected)
                else:
                    self._fields[name] = given

    def _ask(self, prompt: str) -> str:
        sys.stderr.write(plain(prompt) + " ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.strip()

    def _say(self, text: str) -> None:
        sys.stderr.write("".join(f"{plain(line)}\n" for line in text.split("\n")))


def _prompt(name: str, field: Parameter) -> str:
    about = f" ({field.description})" if field.description else ""
    choices = f", one of {', '.join(field.choices)}" if field.choices else ""
    choices = choices or (f", {field.type.value}" if field.type is not Kind.STRING else "")
    default = f" [{field.default}]" if field.default is not None else ""
    return f"{name}{about}{choices}{default}:"
