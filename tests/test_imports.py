"""The packages of charlm/ form rings, each of which imports only from those inside it."""

import ast
import functools
import graphlib
from pathlib import Path

import pytest

import charlm

PACKAGE = Path(charlm.__file__).parent
RINGS = (
    {"errors", "events", "wording", "version", "checks", "storage", "hardware"},
    {"config"},
    {"core"},
    {"text", "engines", "measures"},
    {"runs"},
    {"api"},
    {"inspection", "exports", "serving"},
    {"cli"},
    {"__main__"},
)
"""From the inside out: a package imports itself and those of the rings inside its own."""
ARROWS = {("serving", "exports")}
"""The imports inside a ring: the server shows the page that `charlm export` writes."""
FRAMEWORKS = {"tensorflow", "keras"}
NETWORK = {
    "socket",
    "ssl",
    "http",
    "urllib",
    "ftplib",
    "smtplib",
    "xmlrpc",
    "requests",
    "urllib3",
    "httpx",
    "aiohttp",
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return the dotted name of a module file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def package_of(module: str) -> str:
    """Return the package of a module, or "" for charlm itself."""
    return module.split(".")[1] if "." in module else ""


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """Return the dotted names of all import statements of a module."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def own_imports(path: Path) -> set[str]:
    """Return the modules of charlm that a module imports."""
    own = [name for name in imports(path) if name.partition(".")[0] == "charlm"]
    return {name if name in NAMES else name.rpartition(".")[0] for name in own}


def ring_of(package: str) -> int:
    """Return the number of the ring of a package, from the inside."""
    return next(number for number, ring in enumerate(RINGS) if package in ring)


def test_every_package_is_in_a_ring() -> None:
    top = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert top - {"__init__"} == set().union(*RINGS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_inner_rings(path: Path) -> None:
    package = package_of(name_of(path))
    others = {package_of(target) for target in own_imports(path)} - {package}
    if package in RINGS[0]:
        others -= RINGS[0]
    others = {other for other in others if (package, other) not in ARROWS}
    if package:
        assert others <= set().union(*RINGS[: ring_of(package)])


def test_no_modules_import_each_other() -> None:
    """Also not in a circle, and also not inside functions."""
    inner = {name_of(path): own_imports(path) for path in MODULES}
    graphlib.TopologicalSorter(inner).prepare()


def users_of(libraries: set[str]) -> set[str]:
    """Return the packages of charlm that import one of some libraries."""
    users = set()
    for path in MODULES:
        for name in imports(path):
            is_parser = name.startswith("urllib.parse")  # it only parses addresses
            if name.partition(".")[0] in libraries and not is_parser:
                users.add(package_of(name_of(path)))
    return users


def test_only_the_engine_imports_a_framework() -> None:
    assert users_of(FRAMEWORKS) == {"engines"}


def test_only_the_server_uses_the_network() -> None:
    """Several workers are connected by TensorFlow."""
    assert users_of(NETWORK) == {"serving"}
