"""The image of this tree, both of its targets, built with what earlier builds left.

Owns the context and the wheels. Offline but for Debian's packages: what the image installs is
fetched with this machine's own settings for pip, so no index, proxy or certificate of this machine
has to be known inside the build.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.container import engine

ROOT: Final = Path(__file__).parents[2]
TAG: Final = "signalbox-tests/image"
_FILES: Final = (
    *("Dockerfile", ".dockerignore", "LICENSE", "entrypoint.sh", "post-entrypoint.sh"),
    "requirements/run.txt",
)


def build() -> tuple[str, str]:
    """The ids of the image and of its slim twin. Ids, for somebody else may move the tags."""
    base, started = engine.base_image(), time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        context = Path(place)
        _fill(context)
        whole = _build(context, base, TAG)
        slim = _build(context, base, f"{TAG}:slim", "--target", "slim")
    engine.say(f"built the image on {base} in {time.monotonic() - started:.1f} s")
    return whole, slim


def _build(context: Path, base: str, tag: str, *options: str) -> str:
    given = {"BASE_IMAGE": base, "PIP_NO_INDEX": "1", "VERSION": "0.0.0-test"}
    words = [word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")]
    return engine.docker(
        *("build", "--quiet", "--network", "host", "--tag", tag, *options, *words, *_proxies()),
        str(context),
        timeout=600,
    )


def _fill(context: Path) -> None:
    for name in _FILES:
        (context / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, context / name)
    compiled = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "runner", context / "runner", ignore=compiled)
    shutil.copytree(wheels(), context / "wheels")


def wheels() -> Path:
    """A directory with everything that ``requirements/run.txt`` names."""
    wanted = ROOT / "requirements/run.txt"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()[:16]
    directory = engine.cache() / f"wheels-{digest}"
    with engine.locked("wheels"):
        if not directory.exists():
            unfinished = directory.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            _download(wanted, unfinished)
            unfinished.rename(directory)
    return directory


def _download(wanted: Path, directory: Path) -> None:
    fetch = "-m pip download --require-hashes --no-deps --only-binary :all: --python-version 3.11"
    command = [sys.executable, *fetch.split(), "--dest", str(directory), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise engine.EngineError(done.stderr)


def _proxies() -> list[str]:
    names = [
        name for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "no_proxy"}
    ]
    return [word for name in names for word in ("--build-arg", name)]
