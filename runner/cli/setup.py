"""What an execution is made of before its first step: identity, header, labels, surroundings.

Owns turning a request and the environment into these. Carries nothing out (``launch``).
"""

import hashlib
import os
import shlex
import sys
import uuid
from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from runner import __version__, commit, errors, event, providers, recorder
from runner import execution as executions
from runner.cli import containers, pid1, screen
from runner.cli import settings as environment
from runner.cli.identity import actor, hostname, identity, owner
from runner.cli.request import Request
from runner.cli.voice import Folding, Voice
from runner.commit import Pin
from runner.console import Console, Scene, again
from runner.engine import Surroundings
from runner.execution import MILLISECOND, Execution, Link, rfc3339
from runner.journal import Header, Journal
from runner.notice import Screen
from runner.redact import Masker

if TYPE_CHECKING:  # loaded on a terminal, and when there is a key
    from runner.cli.sidecar import Sidecar
    from runner.console.live import Live
    from runner.intake import Target, Wire

SWITCH: Final = 0.002
"""Seconds after which a thread gives way to another. The usual 5 ms are what a step would wait for
each of the imports that go on beside it.
"""


class Setup:
    """One execution that is about to begin."""

    def __init__(
        self, request: Request, environ: Mapping[str, str], sidecar: "Sidecar | None" = None
    ) -> None:
        self.request, self.environ = request, dict(environ)
        self.sidecar = sidecar
        environment.forget(os.environ)
        sys.setswitchinterval(SWITCH)
        self.settings = environment.read(self.environ)
        self.clock = executions.clock()
        self.engine = containers.Engine(request.plan, self.environ)
        self._host = providers.detect(self.environ, providers.read_file)
        self.voice = Voice(self.environ)
        self._salt = uuid.uuid4().hex
        self.quiet = False
        """Nobody wants to know that there is no commit: nothing is sent that could name it."""
        if not pid1.guard():
            self.voice.warn("this kernel lets steps read what this process was given")
        self.masker = self._mask()
        for warning in request.warnings:
            self.voice.warn(warning)

    def _mask(self) -> Masker:
        pipeline = self.request.plan.pipeline
        found = environment.secrets(self.environ, (*pipeline.secrets, *self.settings.secrets))
        masker = Masker(environment.masked(self.environ))
        short = [name for name, value in found.items() if masker.add([value])]
        if short:
            names = ", ".join(short)
            self.voice.warn(f"not masked, because too short or too large: {names}")
        plan = self.request.plan
        for name, value in (*plan.parameters.items(), *plan.fields.items()):
            if masker.hits(value):
                raise errors.UsageError(
                    f"{name} is set to a value that holds a secret; parameters are reported",
                    "list the variable under secrets: and let the step read it",
                )
        if masker.hits("\n".join((pipeline.name, *(job.key for job in pipeline.jobs)))):
            raise errors.UsageError(
                "the name of the pipeline or of a job holds a secret; names are reported",
                "give it another name",
            )
        return masker

    @property
    def outer(self) -> environment.Outer | None:
        """The run around us, when it delivers for us."""
        return None if self.request.options.local else self.settings.outer

    def relay(self) -> recorder.Relay | None:
        """Who hands our events to the run around us."""
        if self.outer is None:
            return None
        from runner.cli.relay import Relay

        return Relay(self.outer, self._salt, self.voice.warn)

    def target(self) -> "Target | None":
        """Where events go; None: nowhere, or not by us."""
        settings = self.settings
        if self.request.options.local or self.outer or not (settings.key or settings.intake_url):
            return None
        from runner import intake

        return intake.target(
            site=settings.site,
            key=settings.key,
            intake_url=settings.intake_url,
            token=settings.token,
            warn=self.voice.warn,
        )

    def identify(self, taken: Container[str]) -> Execution:
        """The identity; ``taken`` are ids that executions of this journal have."""
        request, host = self.request, self._host.host
        start = self.clock()
        unique_id, previous = identity(host, request.plan.pipeline.name, taken)
        if self.outer:
            unique_id, previous = self._downstream(self.outer), None
        before = request.before.header.execution if request.before else None
        if before and request.retried:
            previous = Link(id=before.unique_id, url=before.url)
        parent = request.parent or (before.parent if before else None)
        return Execution(
            unique_id=unique_id,
            pipeline_id=before.pipeline_id if before else unique_id,
            pipeline=request.plan.pipeline.name,
            start=start,
            url=host.url,
            manual=self._manual(),
            queue_time=_waited(request.queued_at or host.queued_at, start, host.queue_time),
            previous=None if request.blocked else previous,
            partial_retry=request.partial,
            parent=self.outer.link if self.outer else parent,
            resumed_from=request.blocked.id if request.blocked else "",
        )

    def _downstream(self, outer: environment.Outer) -> str:
        from runner import outbox  # by who needs it

        return outbox.unique_id(outer.pipeline, (self._salt,))

    def _manual(self) -> bool:
        given = self.request.options.manual
        if given is not None:
            return given
        if self._host.host.name:
            return self._host.host.manual or self.request.blocked is not None
        return self.request.before is not None or sys.stdin.isatty()

    def header(self, execution: Execution, pin: Pin | None, target: "Target | None") -> Header:
        """The execution's row."""
        request, settings = self.request, self.settings
        before = request.before.header if request.before else None
        envelope = event.Envelope(
            provider_name=self._host.host.provider_name,
            service=settings.service or request.plan.pipeline.service or None,
            env=settings.env or None,
        )
        return Header(
            execution=execution,
            envelope=event.encode(envelope),
            binding=target.binding if target else "",
            owner=owner(),
            workspace=request.place.workspace,
            file=request.place.file,
            digest=hashlib.sha256(request.text).hexdigest(),
            source=request.text,
            parameters=request.plan.parameters,
            selection=request.selection,
            pin=msgspec.json.encode(pin),
            root=(before.root or before.execution.unique_id) if before else "",
            nested=settings.nested,
            actor=request.blocked.header.actor if request.blocked else actor(self._host.host),
            answers=tuple(gate.answer for gate in request.plan.gates if gate.answer),
        )

    def labels(self, pin: Pin | None) -> recorder.Labels:
        """What its events carry beside what happened."""
        host, request = self._host.host, self.request
        tags: dict[str, str] = dict(host.tags)
        if host.name:
            tags["host_ci"] = host.name
        if host.git.head_sha and pin and pin.sha != host.git.head_sha:
            tags["git.head_sha"] = host.git.head_sha
        if request.blocked:
            tags["resumed_from"] = request.blocked.id
        for answer in request.claim.answers if request.claim else ():
            did = "approved" if answer.approved else "rejected"
            tags[f"gate.{answer.gate}"] = did
            tags[f"gate.{answer.gate}.by"] = answer.who
            tags[f"gate.{answer.gate}.at"] = rfc3339(answer.at)
            if answer.reason:
                tags[f"gate.{answer.gate}.reason"] = self.masker.text(answer.reason)
        return recorder.Labels(
            node=msgspec.structs.replace(
                host.node,
                hostname=host.node.hostname or hostname(),
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
            known = (
                {"as it was": f"signalbox reproduce {run} --job {name} --run"}
                if pin and pin.sha
                else {}
            )
            return {**again(job), **known, "its log": f"signalbox logs {run} {name}"}

        scene = msgspec.structs.replace(
            self._scene(execution, pin),
            commands=commands,
            picture=screen.picture(journal, execution.unique_id, self.voice.look),
        )
        return self.voice.screen(scene, self._folds(), self.clock)

    def _scene(self, execution: Execution, pin: Pin | None) -> Scene:
        return Scene(
            plan=self.request.plan,
            execution=execution,
            parallel=self.parallel(),
            commit=f"{pin.branch or 'detached'}@{pin.sha[:7]}" if pin and pin.sha else "",
            mask=self.masker.text,
        )

    def _folds(self) -> Folding | None:
        place = self.request.place
        return Folding(self._host, self.clock, place) if self._host.folds else None

    def surroundings(self, execution: Execution, runs: str, console: Screen) -> Surroundings:
        """What its jobs find around them; ``runs`` is where their logs lie."""
        request = self.request
        base = environment.inherited(self.environ, request.plan.pipeline.secrets)
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
            base=base,
            own={"CI": "true", **self.own(execution)},
            inside=environment.inside(self.environ, request.plan.pipeline.secrets),
            inside_own={
                "CI": "true",
                **self._about(execution),
                **commit.safe_directory(request.place.workspace, {}, always=True),
            },
        )

    def own(self, execution: Execution) -> dict[str, str]:
        """What every step sees of us."""
        safe = commit.safe_directory(self.request.place.workspace, self.environ)
        return {**self._about(execution), **safe}

    def _about(self, execution: Execution) -> dict[str, str]:
        secrets = (*self.request.plan.pipeline.secrets, *self.settings.secrets)
        names = {environment.SECRETS: ",".join(dict.fromkeys(secrets))} if secrets else {}
        return {
            **names,
            "SIGNALBOX": "true",
            "SIGNALBOX_PIPELINE_ID": execution.unique_id,
            "SIGNALBOX_PIPELINE_URL": execution.url,
        }

    def git_reader(self, pin: Pin | None) -> Callable[[], bytes | None]:
        """Reads the commit, in a thread of its own: None when there is none to be had."""

        def read() -> bytes | None:
            overrides = providers.overrides(self.environ)
            git, warnings = commit.read(pin, self._host.host.git, overrides, self.environ)
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


def _waited(asked: int | None, start: int, otherwise: int | None) -> int | None:
    return max(start - asked, 0) // MILLISECOND if asked else otherwise
