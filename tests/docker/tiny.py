"""A small image without bash, whose user may be any, from the binaries of the base image."""

import subprocess
from typing import Final

from tests.container.engine import base_image

NAME: Final = "signalbox-tests/tiny:1"
USER: Final = 4321
_PROGRAMS: Final = "sh sleep cat env id grep ls touch chown xargs head tr rm mkdir ln"
_RECIPE: Final = r"""
FROM {base} AS full
RUN set -e; mkdir -p /tiny/bin /tiny/etc /tiny/tmp /tiny/proc /tiny/home/tester; \
    for program in {programs}; do \
        path=$(command -v /bin/$program || command -v /usr/bin/$program); \
        cp -L "$path" /tiny/bin/$program; \
        for library in $(ldd "$path" | grep -o '/[^ ]*'); do \
            mkdir -p "/tiny${{library%/*}}"; cp -L "$library" "/tiny$library"; done; done; \
    chmod 1777 /tiny/tmp; echo root:x:0:0::/root:/bin/sh >/tiny/etc/passwd; \
    echo tester:x:{user}:{user}::/home/tester:/bin/sh >>/tiny/etc/passwd
FROM scratch
COPY --from=full /tiny /
{more}
"""


def build(name: str = NAME, more: str = "") -> str:
    """The image, with ``more`` in its recipe; the engine keeps its layers."""
    recipe = _RECIPE.format(base=base_image(), programs=_PROGRAMS, user=USER, more=more)
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"],
        input=recipe.encode(),
        capture_output=True,
        check=True,
    )
    return name
