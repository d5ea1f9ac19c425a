"""What an execution is made of before its first step: identity, header, labels, surroundings.

Owns turning a request and the environment into these. Carries nothing out (``launch``).
"""

import hashlib
import os
import shlex
from collections.abc import Callable, Container, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from runner import __version__, commit, errors, event, providers, recorder
from runner.cli import containers, identity, places, screen
from runner.cli import settings as environment
from runner.cli.caller import Caller
from runner.cli.request import Request
from runner.cli.voice import Folding, Voice
from runner.commit import Pin
from runner.console import Console, Scene
from runner.engine import Surroundings
from runner.execution import Execution, Link
from runner.journal import Header, Journal
from runner.notice import Screen

if TYPE_CHECKING:  # loaded on a terminal, and when there is a key
    from runner.cli.sidecar import Sidecar
    from runner.console.live import Live
    from runner.intake import Target, Wire


class Setup:
    """One execution that is about to begin. ``caller``: who has called, when that is known."""

    def __init__(
        self,
        request: Request,
        environ: Mapping[str, str],
        sidecar: "Sidecar | None" = None,
        caller: Caller | None = None,
    ) -> None:
        self.request, self.sidecar = request, sidecar
        self.voice = Voice(environ)
        declared = request.plan.pipeline.secrets
        self.caller = caller or Caller(environ, self.voice.warn, declared)
        self.environ, self.settings = self.caller.environ, self.caller.settings
        self.masker, self.clock = self.caller.masker, self.caller.clock
        self.engine = containers.Engine(request.plan, self.environ)
        self.quiet = False
        """Nobody wants to know that there is no commit: nothing is sent that could name it."""
        self._see_plain()
        for warning in request.warnings:
            self.voice.warn(warning)

    def _see_plain(self) -> None:
        """Raise ``UsageError`` when something that is reported holds a secret."""
        plan = self.request.plan
        for name, value in (*plan.parameters.items(), *plan.fields.items()):
            if self.masker.hits(value):
                raise errors.UsageError(
                    f"{name} is set to a value that holds a secret; parameters are reported",
                    "list the variable under secrets: and let the step read it",
                )
        self.caller.see_plain((plan.pipeline.name, *(job.key for job in plan.pipeline.jobs)))

    @property
    def outer(self) -> environment.Outer | None:
        """The run around us, when it delivers for us."""
        return self.caller.outer(local=self.request.options.local)

    def relay(self) -> recorder.Relay | None:
        """Who hands our events to the run around us."""
        if self.outer is None:
            return None
        from runner.cli.relay import Relay

        return Relay(self.outer, self.caller.salt, self.voice.warn)

    def target(self) -> "Target | None":
        """Where events go; None: nowhere, or not by us."""
        if reserved := self.request.reserved:
            return reserved.target
        return self.caller.target(local=self.request.options.local)

    def identify(self, taken: Container[str]) -> Execution:
        """The identity; ``taken`` are ids that executions of this journal have."""
        request = self.request
        if request.reserved:
            return self._kept(request.reserved.execution, taken)
        fresh = identity.fresh(
            self.caller,
            request.plan.pipeline.name,
            taken,
            manual=request.options.manual,
            queued_at=request.queued_at,
        )
        if self.outer:
            fresh = self._downstream(fresh, self.outer)
        if request.before:
            return self._onward(fresh, request.before.header.execution)
        return msgspec.structs.replace(fresh, parent=fresh.parent or request.parent)

    def _kept(self, reserved: Execution, taken: Container[str]) -> Execution:
        """What was reserved; under another id, where the directory knew less than the journal."""
        if reserved.unique_id not in taken:
            return reserved
        unique_id, previous = identity.identity(self.caller.host, reserved.pipeline, taken)
        return msgspec.structs.replace(
            reserved, unique_id=unique_id, pipeline_id=unique_id, previous=previous
        )

    def _downstream(self, fresh: Execution, outer: environment.Outer) -> Execution:
        from runner import outbox  # by who needs it

        unique_id = outbox.unique_id(outer.pipeline, (self.caller.salt,))
        return msgspec.structs.replace(
            fresh, unique_id=unique_id, pipeline_id=unique_id, previous=None, parent=outer.link
        )

    def _onward(self, fresh: Execution, before: Execution) -> Execution:
        """It goes on from another one, or retries it: somebody asked for that."""
        request, given = self.request, self.request.options.manual
        asked = request.blocked is not None or not self.caller.host.name
        return msgspec.structs.replace(
            fresh,
            pipeline_id=before.pipeline_id,
            manual=fresh.manual or (given is None and asked),
            previous=Link(id=before.unique_id, url=before.url) if request.retried else None,
            partial_retry=request.partial,
            parent=fresh.parent or request.parent or before.parent,
            resumed_from=before.unique_id if request.blocked else "",
        )

    def header(self, execution: Execution, pin: Pin | None, target: "Target | None") -> Header:
        """The execution's row."""
        request, settings = self.request, self.settings
        before = request.before.header if request.before else None
        person = identity.actor(self.caller.host)
        retriers = before.retriers if before else ()
        if request.retried:
            retriers = tuple(dict.fromkeys((*retriers, person)))
        envelope = event.Envelope(
            provider_name=self.caller.host.provider_name,
            service=settings.service or request.plan.pipeline.service or None,
            env=settings.env or None,
        )
        return Header(
            execution=execution,
            envelope=event.encode(envelope),
            binding=target.binding if target else "",
            owner=identity.owner(),
            workspace=request.place.workspace,
            file=request.place.file,
            digest=hashlib.sha256(request.text).hexdigest(),
            source=request.text,
            parameters=request.plan.parameters,
            selection=request.selection,
            pin=msgspec.json.encode(pin),
            root=(before.root or before.execution.unique_id) if before else "",
            nested=settings.nested,
            actor=before.actor if before else person,
            retriers=retriers,
            answers=tuple(gate.answer for gate in request.plan.gates if gate.answer),
        )

    def labels(self, pin: Pin | None) -> recorder.Labels:
        """What its events carry beside what happened."""
        host, request = self.caller.host, self.request
        tags: dict[str, str] = dict(host.tags)
        if host.name:
            tags["host_ci"] = host.name
        if host.git.head_sha and pin and pin.sha != host.git.head_sha:
            tags["git.head_sha"] = host.git.head_sha
        if request.blocked:
            tags["resumed_from"] = request.blocked.id
        for answer in request.claim.answers if request.claim else ():
            reason = self.masker.text(answer.reason)
            tags |= recorder.answered(msgspec.structs.replace(answer, reason=reason))
        return recorder.Labels(
            node=msgspec.structs.replace(
                host.node,
                hostname=host.node.hostname or identity.hostname(),
                workspace=request.place.workspace,
            ),
            job_url=host.job_url,
            tags={
                self.masker.text(key): self.masker.text(value)
                for key, value in {**self.settings.tags, **request.options.tags}.items()
            },
            pipeline_tags=tags,
            measures=request.options.measures,
        )

    def console(self, execution: Execution, pin: Pin | None) -> Console:
        """What a person sees of it, in lines."""
        return self.voice.console(self._scene(execution, pin), self._folds())

    def screen(self, execution: Execution, pin: Pin | None, journal: Journal) -> "Console | Live":
        """What a person sees of it: live before a terminal, and a picture at its end."""
        run = execution.unique_id[:8]

        def commands(job: str) -> dict[str, str]:
            name = shlex.quote(job)
            said = {"again": self._again(run, name)}
            if not journal.degraded:  # another command finds it
                if pin and pin.sha:
                    said["as it was"] = f"signalbox reproduce {run} --job {name} --run"
                said["its log"] = f"signalbox logs {run} {name}"
            return {label: " ".join(filter(None, (one, self.where))) for label, one in said.items()}

        scene = msgspec.structs.replace(
            self._scene(execution, pin),
            commands=commands,
            picture=screen.picture(journal, execution.unique_id, self.voice.look),
        )
        return self.voice.screen(scene, self._folds(), self.clock)

    @cached_property
    def where(self) -> str:
        """What commands must be told here to find this state; empty: they do."""
        chosen = self.request.options.state
        state = places.state(chosen, self.environ, self.request.place.workspace)
        if state == places.state(None, self.environ):
            return ""
        return f"--state {shlex.quote(chosen or os.path.relpath(state))}"

    def _again(self, run: str, job: str) -> str:
        """What runs ``job`` again as it was asked for. What went on has answers and results that a
        run of the job alone would not have.
        """
        request = self.request
        if request.before:
            return f"signalbox retry {run}"
        file = places.argument(request.place)
        given = (f"{name}={value}" for name, value in request.given.items())
        words = ["run", *filter(None, (file,)), *(word for pair in given for word in ("-p", pair))]
        return self.masker.text(f"signalbox {shlex.join(words)} --only {job}")

    def _scene(self, execution: Execution, pin: Pin | None) -> Scene:
        return Scene(
            plan=self.request.plan,
            execution=execution,
            parallel=self.parallel(),
            commit=f"{pin.branch or 'detached'}@{pin.sha[:7]}" if pin and pin.sha else "",
            mask=self.masker.text,
            state=self.where,
        )

    def _folds(self) -> Folding | None:
        place = self.request.place
        provider = self.caller.provider
        return Folding(provider, self.clock, place) if provider.folds else None

    def surroundings(self, execution: Execution, runs: str, console: Screen) -> Surroundings:
        """What its jobs find around them; ``runs`` is where their logs lie."""
        request, declared = self.request, self.request.plan.pipeline.secrets
        ours = {"CI": "true", **self.caller.about(execution, declared)}
        workspace = request.place.workspace
        return Surroundings(
            execution=execution,
            executor=self.engine.executor(
                *(execution, request.place, runs, self.masker.bytes),
                warn=self.voice.warn,
                tell=self.voice.tell,
            ),
            masker=self.masker,
            screen=console,
            clock=self.clock,
            directory=request.place.directory,
            runs=runs,
            base=environment.inherited(self.environ, declared),
            own={**ours, **commit.safe_directory(workspace, self.environ)},
            inside=environment.inside(self.environ, declared),
            inside_own={**ours, **commit.safe_directory(workspace, {}, always=True)},
        )

    def git_reader(self, pin: Pin | None) -> Callable[[], bytes | None]:
        """Reads the commit, in a thread of its own: None when there is none to be had."""

        def read() -> bytes | None:
            overrides = providers.overrides(self.environ)
            git, warnings = commit.read(pin, self.caller.host.git, overrides, self.environ)
            for warning in () if self.quiet else warnings:
                self.voice.warn(warning)
            return event.encode(git) if git else None

        return read

    def pin(self) -> Pin | None:
        """The commit that is under test."""
        if self.request.look:
            return self.request.look.pin()
        return commit.pin(self.request.place.directory, self.environ)

    def connect(self, target: "Target") -> "Wire":
        """The way to an intake."""
        if self.sidecar:
            return self.sidecar.intake(target, self.environ, __version__)
        from runner.intake.http import Intake

        return Intake(target, environ=self.environ, version=__version__)

    def leave(self) -> None:
        """All is delivered that will be: what it takes to end the sidecar, it may do by itself."""
        if self.sidecar and not self.request.options.ask:
            self.sidecar.end()

    def parallel(self) -> int:
        """Jobs at once."""
        return self.request.options.max_parallel or len(os.sched_getaffinity(0))
