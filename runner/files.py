"""What a step sees of us: the variables that say where it is, the files through which it speaks.

Owns their names, that the files are there before the step is and gone after its job. What is
written into them is read by ``entries``, what a signalbox inside the step reports by ``outbox``.
"""

import contextlib
import os
from typing import Final

from runner.execution import Execution

NAMES: Final = ("tags", "measures", "output", "mask", "summary")
OUTBOX: Final = "outbox"


def path(directory: str, name: str) -> str:
    """One of the files, or the outbox, of the job whose ``directory`` this is."""
    return f"{directory}/{name}"


def make(directory: str) -> None:
    """The files, empty or as they were, and the outbox. Raises ``OSError``."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    for name in NAMES:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        os.close(os.open(path(directory, name), flags, 0o600))
    with contextlib.suppress(FileExistsError):
        outbox = path(directory, OUTBOX)
        os.mkdir(outbox)
        # For steps of any user; each removes only what is its own.
        os.chmod(outbox, 0o1777)  # noqa: S103 - as /tmp, inside a directory of ours alone


def remove(directory: str) -> None:
    """The files away, once the job is over: what they hold is not masked, and a state directory may
    be kept as an artifact.
    """
    for name in NAMES:
        with contextlib.suppress(OSError):
            os.unlink(path(directory, name))


def remove_all(run: str) -> None:
    """The same for every job of a run that was killed; ``run`` is its directory."""
    with contextlib.suppress(OSError):
        for job in os.listdir(run):
            remove(os.path.join(run, job))


def variables(
    execution: Execution, job: str, index: int, attempt: int, name: str, directory: str
) -> dict[str, str]:
    """What an attempt at a step finds in its environment: ``name`` is the step's, masked;
    ``index`` counts from 0, ``attempt`` from 1; ``directory`` holds the job's files.
    """
    step = execution.step_id(job, index, attempt)
    trace, span = execution.unique_id.replace("-", ""), step.replace("-", "")[:16]
    return {
        "SIGNALBOX_JOB": job,
        "SIGNALBOX_JOB_ID": execution.job_id(job),
        "SIGNALBOX_STEP": name,
        "SIGNALBOX_STEP_ID": step,
        "SIGNALBOX_ATTEMPT": str(attempt),
        "TRACEPARENT": f"00-{trace}-{span}-01",
        **{f"SIGNALBOX_{one.upper()}": path(directory, one) for one in (*NAMES, OUTBOX)},
    }
