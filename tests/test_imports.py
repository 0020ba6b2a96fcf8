"""The packages of charlm/ import each other in one direction, also inside functions."""

import ast
import functools
import itertools
from pathlib import Path

import charlm

PACKAGE = Path(charlm.__file__).parent
ABOVE_LIBRARY = ("inspection", "formats")
PACKAGES = (
    "__main__",
    "cli",
    "serving",
    *ABOVE_LIBRARY,
    "api",
    "engine",
    "training",
    "runs",
    "evaluation",
    "network",
    "text",
    "config",
    "storage",
    "hardware",
    "events",
    "errors",
    "wording",
)
"""From the top down: a package imports itself and those after it."""
SAME_LEVEL = {*itertools.combinations(ABOVE_LIBRARY, 2)}
"""Packages on one level, which do not import each other."""
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


def test_every_package_is_in_the_order() -> None:
    top = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert top - {"__init__"} == {*PACKAGES}
    assert 15 <= len(top) <= 22


def test_a_module_imports_only_from_packages_below() -> None:
    for name, target in [
        (name_of(path), target) for path in MODULES for target in own_imports(path)
    ]:
        package, other = package_of(name), package_of(target)
        if package and other and package != other:
            assert PACKAGES.index(package) < PACKAGES.index(other), f"{name} imports {target}"
            assert (package, other) not in SAME_LEVEL, f"{name} imports {target}"


def test_the_package_itself_is_outside_the_order() -> None:
    """The package itself imports the library lazily, and all others may import its version."""
    library = {"api", "errors", "events", "formats", "inspection", "runs"}
    assert {package_of(target) for target in own_imports(PACKAGE / "__init__.py")} <= library
    taken = {
        name
        for path in MODULES
        for name in imports(path)
        if name.startswith("charlm.") and name.count(".") == 1
    }
    assert taken - NAMES == {"charlm.__version__"}


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
    assert users_of(FRAMEWORKS) == {"engine"}


def test_only_the_server_uses_the_network() -> None:
    """Several workers are connected by TensorFlow."""
    assert users_of(NETWORK) == {"serving"}
