"""The versions of signalbox that can run a file: ``>=0.1,<2``.

Owns the comparison of dotted numbers, which is all that our own versions are. Does not follow PEP
440, so that no package index's rules are needed to read a pipeline file.
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

from runner import __version__
from runner.manifest.forms import Form, text
from runner.manifest.problems import Problems
from runner.manifest.tree import Node

_PART: Final = r"\s*(?:==|!=|>=|<=|>|<)\s*[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}\s*"
_COMPARE: Final[Mapping[str, Callable[[list[int], list[int]], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def version_range(ours: str = __version__) -> Form[str]:
    """A range that must hold our own version."""
    form = text(f"{_PART}(?:,{_PART})*", "a range of versions such as '>=0.1,<2', in quotes")

    def read(node: Node, path: str, problems: Problems) -> str:
        given = form.read(node, path, problems)
        if given and not within(ours, given):
            problems.add(node, path, f"the file wants signalbox {given}; this is {ours}")
        return given

    return Form(read=read, schema=form.schema, what=form.what, empty="")


def within(version: str, wanted: str) -> bool:
    """Whether ``version`` lies in the range ``wanted``."""
    parts = re.findall(r"([=!<>]+)\s*([0-9.]+)", wanted)
    return all(_COMPARE[sign](_numbers(version), _numbers(bound)) for sign, bound in parts)


def _numbers(version: str) -> list[int]:
    numbers = [int(number) for number in re.findall(r"[0-9]+", version)[:4]]
    return numbers + [0] * (4 - len(numbers))
