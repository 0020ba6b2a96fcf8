"""Changes of single lines, as a programmer could make them by mistake.

In Python: operators, numbers, conditions, slices, strings that are compared, numbers and formats in
messages, items of tuples, arguments and calls. In C and JavaScript: operators and numbers. A large
number is also divided by ten, because a limit may be far too small.
"""

import ast
import contextlib
import copy
import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

Place = tuple[str, int]
"""A file and the number of a line."""
Names = dict[str, list[Place]]
"""The lines in functions that mention each name."""

EXCHANGED: dict[type[ast.AST], Callable[[], Any]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
UNTOUCHED_KEYWORDS = {
    "help",
    "metavar",
    "encoding",
    "strict",
    "check",
    "description",
    "errors",
    "stacklevel",
    "title",
}
UNTOUCHED_CALLS = {
    "assert_never",
    "dataclass",
    "cast",
    "TypeVar",
    "NewType",
    "overload",
}
TYPES = {
    "dict",
    "list",
    "set",
    "tuple",
    "type",
    "defaultdict",
    "Callable",
    "Iterator",
    "Mapping",
    "NDArray",
    "Sequence",
}
UNTOUCHED_FUNCTIONS = {"__repr__", "__str__"}
UNTOUCHED_ASSIGNMENTS = {"__all__", "__version__", "model_config"}

LARGE, SMALLEST_LIMIT = 100, 20
DIGITS = re.compile(r"\d+")

C_OPERATORS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "===": "!==",
    "!==": "===",
    "&&": "||",
    "||": "&&",
    "??": "&&",
    "+": "-",
    "-": "+",
    "*": "+",
    "/": "*",
    "%": "/",
    "<<": ">>",
    ">>": "<<",
    "++": "--",
    "--": "++",
    "+=": "-=",
    "-=": "+=",
    "*=": "/=",
    "true": "false",
    "false": "true",
}
C_TOKEN = re.compile(
    r"""
    (?P<skipped> /\*.*?\*/ | //[^\n]* | ^[ \t]*\#[^\n]*        # comments, lines of the preprocessor
        | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | `(?:\\.|[^`\\])*`
        | => | -> | \.\.\. | ===? (?= \s* function ) )
    | (?P<number> (?<![\w.]) (?: 0x[0-9a-fA-F]+ | \d+\.?\d*(?:[eE][+-]?\d+)? ) )
    | (?P<operator> ===|!==|<<=|>>=|>>>|<<|>>|<=|>=|==|!=|&&|\|\||\?\?|\+\+|--|\+=|-=|\*=|[<>+/%-]
        | (?<=\s)\*(?=\s)                                    # not the * of a pointer
        | \b(?:true|false)\b )
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)


class Mutation(NamedTuple):
    """One change: bytes `begin` to `end` of a file are replaced."""

    file: str
    line: int
    code: str
    """The line without indentation, before the change."""
    before: str
    after: str
    begin: int
    end: int
    places: tuple[Place, ...]
    """Lines; each test that can notice the change executes at least one of them."""

    def apply(self, source: bytes) -> bytes:
        """Return the changed file."""
        return source[: self.begin] + self.after.encode() + source[self.end :]


def draw(sources: Mapping[str, bytes], *, seed: int, count: int) -> list[Mutation]:
    """Return mutations of files; a file is drawn in proportion to its number of lines."""
    rng = random.Random(seed)
    names = names_of(sources)
    left = {file: mutations_of(file, source, names) for file, source in sources.items()}
    drawn: list[Mutation] = []
    while len(drawn) < count and any(left.values()):
        files = [file for file, mutations in left.items() if mutations]
        weights = [sources[file].count(b"\n") for file in files]
        (file,) = rng.choices(files, weights)
        mutation = left[file].pop(rng.randrange(len(left[file])))
        if not file.endswith(".py") or _is_python(mutation.apply(sources[file])):
            drawn.append(mutation)
    return drawn


def mutations_of(
    file: str,
    source: bytes,
    names: Names,
) -> list[Mutation]:
    """Return every mutation of a file."""
    if PurePath(file).suffix == ".py":
        return list(_mutations_of_python(file, source, names))
    return list(_mutations_of_c(file, source))


def names_of(sources: Mapping[str, bytes]) -> Names:
    """Return the lines in functions of Python files that mention each name or attribute."""
    names: Names = {}
    for file, source in sources.items():
        if not file.endswith(".py"):
            continue
        for function in ast.walk(ast.parse(source)):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for statement in function.body:
                for node in ast.walk(statement):
                    name = getattr(node, "id", None) or getattr(node, "attr", None)
                    if isinstance(name, str):
                        names.setdefault(name, []).append((file, node.lineno))  # type: ignore[attr-defined]
    return names


def _is_python(source: bytes) -> bool:
    with contextlib.suppress(SyntaxError):
        ast.parse(source)
        return True
    return False


def _mutations_of_c(file: str, source: bytes) -> Iterator[Mutation]:
    """Yield the mutations of a file in C or JavaScript."""
    text = source.decode()
    lines = text.splitlines()
    for found in C_TOKEN.finditer(text):
        before = found.group()
        if found.lastgroup == "number":
            changed = _other_numbers(before)
        elif before in C_OPERATORS:
            changed = [C_OPERATORS[before]]
        else:
            continue
        line = text.count("\n", 0, found.start()) + 1
        begin = len(text[: found.start()].encode())
        code = lines[line - 1].strip()
        for after in changed:
            yield Mutation(file, line, code, before, after, begin, begin + len(before), ())


def _other_integers(number: int) -> list[int]:
    """Return the next integer, or twice a large one; and a tenth of what may be a limit."""
    other = number + 1 if number < LARGE else 2 * number
    return [other] if number < SMALLEST_LIMIT else [other, number // 10]


def _other_numbers(number: str) -> list[str]:
    """Return other numbers in the notation of C."""
    if number.isdecimal():
        return [*map(str, _other_integers(int(number)))]
    if number.startswith("0x"):
        return [hex(int(number, 16) + 1)]
    return [repr(2 * float(number) or 1.0)]


def _mutations_of_python(
    file: str,
    source: bytes,
    names: Names,
) -> Iterator[Mutation]:
    lines = source.splitlines(keepends=True)
    starts = [0, *itertools.accumulate(map(len, lines))]
    for node, changed, places in _Visitor(file, names).visit(ast.parse(source), ()):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        after = ast.unparse(changed)
        if not isinstance(changed, ast.stmt | ast.Constant | ast.Name | ast.Attribute | ast.Slice):
            after = f"({after})"
        before = source[begin:end].decode()
        code = lines[node.lineno - 1].decode().strip()
        yield Mutation(file, node.lineno, code, before, after, begin, end, places)


class _Visitor:
    """Finds the nodes of a Python file that can be changed."""

    def __init__(
        self,
        file: str,
        names: Names,
    ) -> None:
        self.file = file
        self.names = names
        self.unordered: set[ast.AST] = set()
        """Tuples whose order has no effect: several exceptions, or the values of `in`."""

    def visit(
        self, node: ast.AST, places: tuple[Place, ...]
    ) -> Iterator[tuple[Any, ast.AST, tuple[Place, ...]]]:
        """Yield each node that can be changed, its replacement, and the places of its tests."""
        if _is_untouched(node):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from self._visit_function(node)
            return
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                yield from self.visit(statement, ())
            return
        if isinstance(node, ast.stmt):
            places = places or self._places_of(node)
        match node:
            case ast.ExceptHandler(ast.Tuple() as values) | ast.Compare(
                _, _, [ast.Tuple() as values]
            ):
                self.unordered.add(values)
            case ast.Call(ast.Name("isinstance"), [_, ast.Tuple() as values]):
                self.unordered.add(values)
        for place, changed in self._changes(node):
            own = ((self.file, line) for line in range(place.lineno, place.end_lineno + 1))
            yield place, changed, (*places, *own)
        if isinstance(node, ast.JoinedStr):  # before Python 3.12, its parts have no positions
            return
        for child in _children(node):
            is_nested = isinstance(child, ast.stmt) and places
            nearest = ((self.file, child.lineno),) if is_nested else places
            yield from self.visit(child, nearest)

    def _changes(self, node: ast.AST) -> Iterator[tuple[Any, ast.AST]]:
        """Yield what can be changed in a node, and what may take its place."""
        yield from _changed_operators(node)
        yield from _changed_values(node)
        yield from _changed_messages(node)
        yield from _changed_strings(node)
        yield from _changed_statements(node)
        match node:
            case ast.Tuple([first, second, *others], ast.Load()) if node not in self.unordered:
                yield node, ast.Tuple([second, first, *others], ast.Load())

    def _visit_function(
        self, function: ast.FunctionDef | ast.AsyncFunctionDef
    ) -> Iterator[tuple[Any, ast.AST, tuple[Place, ...]]]:
        if function.name in UNTOUCHED_FUNCTIONS:
            return
        body = [node for node in function.body if not _is_docstring(node)]
        if not body:
            return
        first = ((self.file, body[0].lineno),)
        arguments = function.args
        for default in [*arguments.defaults, *arguments.kw_defaults]:
            if default is not None:
                yield from self.visit(default, first)
        for statement in body:
            yield from self.visit(statement, ((self.file, statement.lineno),))

    def _places_of(self, statement: ast.stmt) -> tuple[Place, ...]:
        """Return the lines that use the names that a statement outside of functions assigns."""
        assigned: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            assigned = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            assigned = [statement.target]
        places: list[Place] = []
        for target in assigned:
            if isinstance(target, ast.Name):
                places += self.names.get(target.id, [])
        return tuple(places)


def _children(node: ast.AST) -> Iterator[Any]:
    """Yield the parts of a node, without types, but with limits as in `Field(ge=1)`."""
    annotation = getattr(node, "annotation", None)
    match node:
        case ast.Assign(_, ast.Subscript(ast.Name("Annotated")) as value):
            annotation = value
        case ast.Subscript(ast.Name(name)) if name in TYPES:
            return
    if annotation is not None:
        for part in ast.walk(annotation):
            if isinstance(part, ast.Call):
                yield part
    for child in ast.iter_child_nodes(node):
        if child is not annotation:
            yield child


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_untouched(node: ast.AST) -> bool:
    """Return whether nothing in a node is changed: assertions, types, texts of commands."""
    match node:
        case ast.Call(function):
            return ast.unparse(function).split(".")[-1] in UNTOUCHED_CALLS
        case ast.keyword(name):
            return name in UNTOUCHED_KEYWORDS
        case ast.Assign([ast.Name(name)]):
            return name in UNTOUCHED_ASSIGNMENTS
        case ast.If(ast.Name("TYPE_CHECKING")):
            return True
    untouched = ast.Assert | ast.Import | ast.ImportFrom
    return isinstance(node, untouched) or _is_docstring(node)


def _changed_operators(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    kind = type(getattr(node, "op", None) or (getattr(node, "ops", None) or [None])[0])
    match node:
        case ast.Compare(left, [_], comparators) if kind in EXCHANGED:
            yield node, ast.Compare(left, [EXCHANGED[kind]()], comparators)
        case ast.BoolOp(_, values):
            yield node, ast.BoolOp(EXCHANGED[kind](), values)
        case ast.BinOp(left, _, right) if kind in EXCHANGED:
            yield node, ast.BinOp(left, EXCHANGED[kind](), right)
        case ast.AugAssign(target, _, value) if kind in EXCHANGED:
            yield node, ast.AugAssign(target, EXCHANGED[kind](), value)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield node, operand


def _changed_values(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    match node:
        case ast.Constant(bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(int(value)):
            for other in _other_integers(value):
                yield node, ast.Constant(other)
        case ast.Constant(float(value)):
            yield node, ast.Constant(2 * value or 1.0)
        case ast.Slice(lower, upper, step):
            if lower is not None:
                yield node, ast.Slice(None, upper, step)
            if upper is not None:
                yield node, ast.Slice(lower, None, step)
        case ast.Tuple(items, ast.Load()) if len(items) > 1:
            yield node, ast.Tuple(items[:-1], ast.Load())
        case ast.List(items, ast.Load()) if len(items) > 1:
            yield node, ast.List(items[:-1], ast.Load())
        case ast.Set(items) if len(items) > 1:
            yield node, ast.Set(items[:-1])


def _changed_messages(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield each f-string with another number or format in it."""
    if not isinstance(node, ast.JoinedStr):
        return
    for index, part in enumerate(ast.walk(node)):
        match part:
            case ast.Constant(int(value)) if not isinstance(value, bool):
                after: Any = value + 1
            case ast.Constant(str(value)) if DIGITS.search(value):
                after = DIGITS.sub(lambda found: str(int(found.group()) + 1), value, count=1)
            case _:
                continue
        changed = copy.deepcopy(node)
        [*ast.walk(changed)][index].value = after  # type: ignore[attr-defined]
        yield node, changed


def _changed_strings(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield the strings that are compared."""
    compared: list[ast.expr] = []
    match node:
        case ast.Compare(left, _, comparators):
            compared = [left, *comparators]
        case ast.MatchValue(value):
            compared = [value]
        case ast.Call(ast.Attribute(_, "startswith" | "endswith"), [argument]):
            compared = [argument]
    for value in compared:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value, ast.Constant(value.value + "_")


def _changed_statements(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    match node:
        case ast.Expr(ast.Call()):
            yield node, ast.Pass()
        case ast.Return(value) if value is not None and not isinstance(value, ast.Constant):
            yield node, ast.Return(ast.Constant(None))
        case ast.If(test) | ast.IfExp(test) | ast.While(test) if isinstance(
            test, ast.Name | ast.Attribute | ast.Call
        ):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Call(function, arguments, keywords):
            for keyword in keywords:
                others = [other for other in keywords if other is not keyword]
                if keyword.arg not in UNTOUCHED_KEYWORDS:
                    yield node, ast.Call(function, arguments, others)
