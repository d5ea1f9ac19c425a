"""The house stands: rows, homes and the map in ``runner/__init__.py`` agree with the imports."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import runner

ROOT = Path(runner.__file__).parent
HOMES = {
    "docker": {"executors"},
    "requests": {"intake"},
    "urllib3": {"intake"},
    "git": {"commit"},
    "yaml": {"manifest"},
    "sqlite3": {"journal", "viewer"},
    "jinja2": {"report", "viewer"},
    "starlette": {"viewer"},
    "uvicorn": {"viewer"},
    "click": {"cli"},
    "subprocess": {"executors", "commit"},
    "signal": {"cli", "executors", "engine", "recorder", "failure"},
}
CLI_ALONE = {"environ", "getenv", "exit", "_exit"}


def rows() -> dict[str, tuple[int, int]]:
    """Every module of the map: its row and its place in it."""
    found: dict[str, tuple[int, int]] = {}
    row = 0
    for line in (runner.__doc__ or "").splitlines():
        match = re.match(r"    (?:(\d)| )  (\w+) {2,}\S", line)
        if match:
            row = int(match[1] or row)
            found[match[2]] = (row, len(found))
    return found


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in {"__init__", "__main__"}:
            yield parts[0], path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names) if module == "runner":
                yield from (f"runner.{alias.name}" for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module
            case _:
                pass


def test_the_map_names_every_module_and_no_other() -> None:
    assert set(rows()) == {name for name, _ in modules()}


def test_a_module_imports_only_from_rows_above_its_own() -> None:
    place = rows()
    wrong = []
    for name, path in modules():
        for imported in imports(path):
            top = imported.split(".")[1] if imported.startswith("runner.") else ""
            if top in {"", name, "__version__"}:
                continue
            (row, order), (above, earlier) = place[name], place[top]
            if not (above < row or (above == row <= 2 and earlier < order)):
                wrong.append(f"{path.relative_to(ROOT)} imports {imported}")
    assert not wrong


def test_one_library_has_one_home() -> None:
    wrong = []
    for name, path in modules():
        for imported in imports(path):
            homes = HOMES.get(imported.split(".")[0])
            if homes is not None and name not in homes:
                wrong.append(f"{path.relative_to(ROOT)} imports {imported}")
    assert not wrong


def test_nothing_below_cli_reads_the_environment_or_exits() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}"
        for name, path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if name != "cli"
        and isinstance(node, ast.Attribute)
        and node.attr in CLI_ALONE
        and isinstance(node.value, ast.Name)
        and node.value.id in {"os", "sys"}
    ]
    assert not wrong
