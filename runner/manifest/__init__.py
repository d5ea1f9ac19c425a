"""YAML text -> Pipeline, or every mistake with line and column; and the same as JSON Schema.

Owns the pipeline file: interface, section 2. Does not read files, plan or run. From the bytes to
the struct, each step in a file of its own::

    problems   every mistake, its place and its words
    tree       bytes -> nodes with places; what of YAML is refused
    forms      how one value is written: reader and schema side by side
    version    the range of versions in ``signalbox:``
    keys       the table of all keys
    document   nodes -> Pipeline; shorthands and defaults are gone
    check      what must hold between the parts
    example    what ``signalbox init`` writes
"""

from runner.errors import PipelineFileError
from runner.manifest import check, document, keys, tree
from runner.manifest.example import EXAMPLE
from runner.manifest.problems import Problems, StopReading, spelled
from runner.pipeline import Pipeline

__all__ = ["EXAMPLE", "load", "schema"]


def load(text: bytes, file: str) -> Pipeline:
    """The pipeline in ``text``; raises ``PipelineFileError`` with every mistake in line order."""
    problems = Problems()
    pipeline = _read(text, problems)
    if mistakes := problems.in_order():
        raise PipelineFileError(file, mistakes)
    assert pipeline is not None  # noqa: S101 - whatever stops the reading is a mistake
    return pipeline


def _read(text: bytes, problems: Problems) -> Pipeline | None:
    try:
        root = tree.parse(text, problems)
        pipeline = document.read(root, problems)
        for finding in check.findings(pipeline):
            at, path = tree.locate(root, finding.path), spelled(finding.path)
            problems.add(at, path, finding.message, word=finding.word, known=finding.known)
    except StopReading:
        return None
    return pipeline


def schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of the file, for editors."""
    return dict(keys.schema())
