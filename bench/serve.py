"""What ``signalbox serve`` bears: ``python -m bench.serve``. Intake under load, and a full store.

The load is a process of its own: eight connections, batches of a hundred, each answered before the
next; so it shares two cores with the server. The full store holds two million events of thirty days
(``--events`` for fewer), is asked over HTTP as a browser would, and weighed by what the kernel says
of the process.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner.execution import rfc3339
from runner.viewer import check
from runner.viewer.store import Store
from runner.viewer.writing import Batch

ROOT = Path(__file__).parent.parent
CONNECTIONS = 8
BATCH = 100
SECONDS = 10
EVENTS = 2_000_000
DAYS = 30
JOBS = 6
STEPS = 22
"""Of one pipeline, in all; with it, one stage and its jobs thirty events."""
WINDOW = 7
"""Days: the default window of the pages."""

REPOSITORIES = [f"https://git.example.test/team/service-{n}" for n in range(40)]
BRANCHES = ["main"] * 6 + [f"feature/{n}" for n in range(200)]
NAMES = ["Build", "Test", "Release", "Nightly"]
MESSAGE = "make the cache survive a restart, and say so when it did not"


def execution(rng: random.Random, start: int, unique: str) -> list[bytes]:
    """The thirty elements of one execution; ``start`` in epoch nanoseconds."""
    name, repository = rng.choice(NAMES), rng.choice(REPOSITORIES)
    git = {
        "repository_url": repository,
        "sha": f"{rng.getrandbits(160):040x}",
        "author_email": f"dev{rng.randrange(50)}@example.test",
        "author_name": "A Developer",
        "message": MESSAGE,
        "branch": rng.choice(BRANCHES),
        "default_branch": "main",
    }
    failed = rng.random() < 0.15
    times = {"start": rfc3339(start), "end": rfc3339(start + rng.randrange(10**9, 10**12))}
    status = "error" if failed else "success"
    shared = {"git": git, "tags": [f"team:{rng.randrange(8)}", "host_ci:none"], **times}
    parent = {"pipeline_unique_id": unique, "pipeline_name": name}
    error = {"domain": "user", "type": "ExitCode", "message": "2 tests failed"}
    blame = {"error": error} if failed else {}
    resources: list[dict[str, Any]] = [
        {
            "level": "pipeline",
            "unique_id": unique,
            "name": name,
            "url": "",
            "status": status,
            "partial_retry": False,
            **shared,
            **blame,
        },
        {"level": "stage", "id": "s", "name": "check", "status": status, **parent, **shared},
    ]
    for number in range(JOBS):
        of_job: dict[str, Any] = {
            "level": "job",
            "id": f"j{number}",
            "name": f"job {number}",
            "url": "",
            "queue_time": 40,
        }
        resources.append({**of_job, "status": status, **parent, **shared, **blame})
    for step in range(STEPS):
        of_step: dict[str, Any] = {"level": "step", "id": f"t{step}", "name": f"make step-{step}"}
        job = {"job_id": f"j{step % JOBS}", "job_name": f"job {step % JOBS}"}
        resources.append({**of_step, **job, "status": status, **parent, **shared, **blame})
    envelope = {"provider_name": "signalbox", "env": "ci"}
    return [
        json.dumps(
            {"type": "cipipeline_resource_request", "attributes": {**envelope, "resource": one}}
        ).encode()
        for one in resources
    ]


@contextmanager
def served(state: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """The server as a user starts it: its port and its process."""
    command = [sys.executable, "-m", "runner", "serve", "--port", "0", "--state", state]
    env = {"PATH": os.environ["PATH"], "HOME": state, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, *arguments], env=env, cwd=state, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            port = int(process.stderr.readline().rstrip().rpartition(":")[2])
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()


# ── intake ───────────────────────────────────────────────────────────────────────────────────────


def load(port: int, seconds: float) -> None:
    """What the process that loads does: prints how many were accepted, and every wait."""
    waits: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    ends = time.monotonic() + seconds

    def one(place: int) -> None:
        rng = random.Random(place)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        at, count = time.time_ns(), 0
        pool: list[bytes] = []
        while time.monotonic() < ends:
            while len(pool) < BATCH:
                count += 1
                pool += execution(rng, at + count * 10**6, f"{os.getpid()}-{place}-{count}")
            body = b'{"data":[%b]}' % b",".join(pool[:BATCH])
            del pool[:BATCH]
            begin = time.monotonic()
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/api/v2/ci/pipeline", body, headers)
            response = connection.getresponse()
            response.read()
            waits[place].append(time.monotonic() - begin)
            assert response.status == 202, response.status

    threads = [threading.Thread(target=one, args=(place,)) for place in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps([wait for of_one in waits for wait in of_one]))


def intake() -> bool:
    """Accepted and durable, a second; and how long the slowest wait."""
    with tempfile.TemporaryDirectory() as state, served(state) as (port, pid):
        before, begin = cpu(pid), time.monotonic()
        command = [sys.executable, "-m", "bench.serve", "--load", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        spent = cpu(pid) - before
        waits = sorted(json.loads(done.stdout))
        events = len(waits) * BATCH
        rate = events / min(time.monotonic() - begin, SECONDS + 0.5)
        p99 = waits[int(len(waits) * 0.99)] * 1000
        found = (
            f"{rate:.0f} events/s, p99 {p99:.0f} ms, "
            f"median {statistics.median(waits) * 1e3:.0f} ms, "
            f"{spent / events * 1e6:.0f} us CPU each, {memory(pid):.0f} MB"
        )
        return row(
            "intake, 8 x 100, two cores", found, ">= 3000/s, 250 ms", rate >= 3000 and p99 <= 250
        )


# ── a full store ─────────────────────────────────────────────────────────────────────────────────


def fill(state: str, events: int) -> None:
    """Put so many events of the last days into a store."""
    store, rng = Store.open(state), random.Random(1)
    each = 2 + JOBS + STEPS
    executions = events // each
    step = DAYS * 86_400 * 10**9 // executions
    at = time.time_ns() - executions * step
    futures = []
    for number in range(executions):
        taken = [check.one(one) for one in execution(rng, at + number * step, f"x{number}")]
        futures.append(store.writer.submit(Batch(events=taken)))
        if len(futures) >= 64:
            futures.pop(0).result()
            if sys.stderr.isatty():
                print(f"\r{number * each:,} events", end="", file=sys.stderr)
    store.close()


QUERIES = {
    "everything": "",
    "status": "@ci.status:error",
    "branch and repository": "@git.branch:main @git.repository.id:*service-1*",
    "long": "@duration:>10min -@ci.pipeline.name:Build",
    "tag": "team:3 @ci.status:(error OR canceled)",
    "rare": "@git.commit.author.email:dev7@example.test @ci.pipeline.name:Nightly",
}


def full(events: int, keep: str) -> bool:
    """Pages and searches over a full store."""
    with tempfile.TemporaryDirectory() as scratch:
        state = keep or scratch
        if not (Path(state) / "serve" / "store.db").exists():
            fill(state, events)
        with served(state) as (port, pid):
            good = [_newest(port), _searches(port, pid), _pages(port)]
            found = f"{memory(pid):.0f} MB"
            good.append(row("memory, after all of it", found, "<= 200 MB", memory(pid) <= 200))
    return all(good)


def _newest(port: int) -> bool:
    waits = [timed(port, "/executions") for _ in range(20)]
    api = [timed(port, "/api/v2/ci/pipelines/events?page[limit]=50") for _ in range(20)]
    worst = max(waits[1:]) * 1000
    found = f"{worst:.0f} ms (API {max(api[1:]) * 1000:.0f} ms)"
    return row("Executions' newest page", found, "<= 50 ms", worst <= 50)


def _searches(port: int, pid: int) -> bool:
    waits = []
    for level in ("pipeline", "job", "step"):
        for name, query in QUERIES.items():
            # Never the same question twice: what was answered is remembered for a moment.
            asked = [quote(f"{query} -team:nobody-{n}") for n in range(5)]
            before = cpu(pid)
            spent = sorted(timed(port, f"/executions?level={level}&q={one}") for one in asked)
            used = (cpu(pid) - before) / len(asked)
            waits += spent
            wall = f"{spent[2] * 1000:6.0f} ms, {used * 1000:4.0f} ms CPU"
            print(f"     {level:<9} {name:<24} {wall}")
    p95 = sorted(waits)[int(len(waits) * 0.95)] * 1000
    return row("search with facets, default window, p95", f"{p95:.0f} ms", "<= 300 ms", p95 <= 300)


def _pages(port: int) -> bool:
    waits = {}
    for path in ("/", "/pipelines", "/pipelines?default=0", "/executions", "/executions/x40000"):
        waits[path] = max(timed(port, path) for _ in range(3)) * 1000
        print(f"     {path:<34} {waits[path]:6.0f} ms")
    worst = max(waits.values())
    return row("every page", f"{worst:.0f} ms", "<= 500 ms", worst <= 500)


def timed(port: int, path: str) -> float:
    """Seconds until the whole answer is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    begin = time.monotonic()
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    spent = time.monotonic() - begin
    connection.close()
    assert response.status in (200, 302, 303, 307), (path, response.status)
    return spent


# ── the process ──────────────────────────────────────────────────────────────────────────────────


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """The most that a process has had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def row(name: str, found: str, bound: str, good: bool) -> bool:
    print(f"{'ok  ' if good else 'OVER'} {name:<44} {found:<58} {bound}", flush=True)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=main.__doc__)
    parser.add_argument("figures", nargs="*", choices=["intake", "full", []], default=[])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--keep", default="", help="a state directory to fill once and keep")
    parser.add_argument("--load", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        load(options.load, SECONDS)
        return
    figures: dict[str, Callable[[], bool]] = {
        "intake": intake,
        "full": lambda: full(options.events, options.keep),
    }
    good = [figures[name]() for name in options.figures or figures]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
