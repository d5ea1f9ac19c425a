"""The image: its sizes, and what it costs to start beside a container that does nothing.

    python -m bench.image

Needs a Docker engine. Both sides of a pair are ``docker run`` with the same options, in turn; the
median of their differences counts.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.pairs import Cost, cost
from tests.container import build, engine
from tests.container.runner_job import RunnerJob
from tests.intake_server import Server, intake

ROUNDS = 15
KEY = "0" * 32
STEP = "name: P\njobs: { a: { steps: ['true'] } }\n"
BARE = ("docker", "run", "--rm", "--network", "none")


def row(name: str, found: float, unit: str, most: float) -> bool:
    good = found <= most
    print(
        f"{'ok  ' if good else 'OVER'} {name:<58} {found:6.0f} {unit}  (<= {most:.0f})", flush=True
    )
    return good


def size(image: str) -> float:
    return int(engine.docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def more(ours: Callable[[], Cost], theirs: Callable[[], Cost]) -> float:
    """Milliseconds that ours takes longer: the median of the rounds' differences."""
    ours(), theirs()
    return statistics.median(ours().wall - theirs().wall for _ in range(ROUNDS)) * 1e3


def plain(*command: str) -> Callable[[], Cost]:
    return lambda: cost([*BARE, *command], cwd="/", env=os.environ)


def action(image: str, server: Server, place: Path) -> float:
    """Action mode, one step, delivered, against the same container with ``true``."""
    job = RunnerJob(place, image, STEP)
    given = job.variables({"api-key": KEY, "intake-url": server.url})
    command = [*job.command(given), image]
    env = {**os.environ, **given}
    bare = [*command[:-1], "--entrypoint", "/bin/true", image]
    return more(lambda: cost(command, cwd="/", env=env), lambda: cost(bare, cwd="/", env=env))


def delivered(server: Server) -> int:
    """Pipelines that arrived whole."""
    return sum(e["level"] == "pipeline" and e["status"] == "success" for e in server.events)


def main() -> None:
    with engine.running(), tempfile.TemporaryDirectory() as place, intake(key=KEY) as server:
        base = engine.base_image()
        image, slim = build.build()
        good = [
            row("image, default", size(image), "MB", 260),
            row("image, slim", size(slim), "MB", 165),
            row(
                "container start to --version, against `true` in the base",
                more(plain(image, "--version"), plain(base, "true")),
                "ms",
                100,
            ),
            row(
                "action mode, one step, delivered, against `true`",
                action(image, server, Path(place)),
                "ms",
                450,
            ),
        ]
        server.check()
        if delivered(server) != ROUNDS + 1:
            sys.exit(f"{delivered(server)} of {ROUNDS + 1} pipelines arrived")
    if not all(good):
        sys.exit("over their bounds")


if __name__ == "__main__":
    main()
