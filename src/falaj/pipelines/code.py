"""The digest of a step's code: the function, all of its file that it leads to by name, and what it imports.

Read from the syntax tree, so comments and layout do not count; nothing of the person's code runs here. What is not a
definition (a loop, a call at the top of the file) counts always: it may change anything. A module of the project that
is imported counts whole, with all that it imports of the project.
"""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Iterator, Mapping

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.pipelines.errors import PipelineInvalid

Files = Mapping[str, bytes]


def digest_of(files: Files, path: str, function: str) -> str:
    """The digest of a function's code.

    Args:
        files: every file of the project, by its path below it.
    Raises: PipelineInvalid where the file is not there, is no Python, or has no such function.
    """
    module = _Module(path, _parsed(files, path))
    if function not in module.named:
        raise PipelineInvalid(f"{path}: no function {function}", next_step="define it at the top of the file")
    parts, imported = module.reached(function, files)
    whole: dict[str, str] = {}
    for one in imported:
        _take(files, one, whole)
    return sha256(canonical([path, function, parts, sorted(whole.items())]))


class _Module:
    """The top level of a file: what each name is bound by, and the statements that bind none."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.path = path
        self.named: dict[str, list[ast.stmt]] = {}
        self.loose: list[ast.stmt] = []
        for place, statement in enumerate(tree.body):
            names = list(_bound(statement))
            for one in names:
                self.named.setdefault(one, []).append(statement)
            if not names and not (place == 0 and _is_text(statement)):
                self.loose.append(statement)

    def reached(self, function: str, files: Files) -> tuple[list[str], set[str]]:
        """What a function leads to: statements as text, in the file's order, and files of the project."""
        wanted, seen, imported = [function], set[str](), set[str]()
        taken: dict[int, ast.stmt] = {id(one): one for one in self.loose}
        for one in self.loose:
            wanted += _names(one)
        while wanted:
            if (word := wanted.pop()) in seen:
                continue
            seen.add(word)
            for statement in self.named.get(word, ()):
                taken[id(statement)] = statement
                wanted += _names(statement)
        for statement in taken.values():
            imported |= set(_imports(statement, self.path, files))
        parts = [_text(one, is_step=_name_of(one) == function) for one in taken.values()]
        return sorted(parts), imported


def _take(files: Files, path: str, into: dict[str, str]) -> None:
    """A file and all that it imports of the project."""
    if path in into:
        return
    tree = _parsed(files, path)
    into[path] = sha256(ast.dump(tree).encode())
    for found in _imports(tree, path, files):
        _take(files, found, into)


def _parsed(files: Files, path: str) -> ast.Module:
    if path not in files:
        raise PipelineInvalid(f"{path}: no such file in the project", next_step="keep the steps in the project")
    try:
        return ast.parse(files[path])
    except (SyntaxError, ValueError) as error:
        raise PipelineInvalid(f"{path}: {error}", next_step="correct the file") from error


def _bound(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=word) | ast.AsyncFunctionDef(name=word) | ast.ClassDef(name=word):
            yield word
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            for one in names:
                yield (one.asname or one.name).partition(".")[0]
        case ast.Assign(targets=targets):
            yield from _targets(targets)
        case ast.AnnAssign(target=target):
            yield from _targets([target])


def _targets(targets: list[ast.expr]) -> Iterator[str]:
    """Names that are bound; none where something else is changed, too (`x.y = …`): then it is no mere definition."""
    names = [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]
    plain = all(isinstance(t, ast.Name | ast.Tuple | ast.List) for t in targets)
    if plain:
        yield from names


def _names(tree: ast.AST) -> list[str]:
    return [one.id for one in ast.walk(tree) if isinstance(one, ast.Name)]


def _imports(tree: ast.AST, path: str, files: Files) -> Iterator[str]:
    """The files of the project that are imported anywhere below."""
    for one in ast.walk(tree):
        if isinstance(one, ast.Import):
            for alias in one.names:
                yield from _found(alias.name, files)
        elif isinstance(one, ast.ImportFrom):
            above = path.split("/")[: -one.level] if one.level else []
            base = ".".join([*above, *([one.module] if one.module else [])])
            yield from _found(base, files)
            for alias in one.names:
                yield from _found(f"{base}.{alias.name}" if base else alias.name, files)


def _found(module: str, files: Files) -> Iterator[str]:
    """The files that importing a module of the project runs: packages on the way, too."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        stem = "/".join(parts[:end])
        yield from (name for name in (f"{stem}.py", f"{stem}/__init__.py") if name in files)


def _text(statement: ast.stmt, *, is_step: bool) -> str:
    if is_step and isinstance(statement, ast.FunctionDef):
        # The options of a step say how it is run, not what it computes.
        kept = [one for one in statement.decorator_list if not _is_step(one)]
        statement = copy.copy(statement)
        statement.decorator_list = kept
    return ast.dump(statement)


def _is_step(decorator: ast.expr) -> bool:
    inner = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (isinstance(inner, ast.Name) and inner.id == "step") or (
        isinstance(inner, ast.Attribute) and inner.attr == "step"
    )


def _name_of(statement: ast.stmt) -> str:
    return statement.name if isinstance(statement, ast.FunctionDef) else ""


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def modules_of(files: Files) -> list[str]:
    """The modules that a project's files import from elsewhere, the standard library left out; sorted."""
    found: set[str] = set()
    files = {path: body for path, body in files.items() if path.endswith(".py")}
    for path in files:
        for one in ast.walk(_parsed(files, path)):
            if isinstance(one, ast.Import):
                found |= {alias.name for alias in one.names}
            elif isinstance(one, ast.ImportFrom) and one.module and not one.level:
                found.add(one.module)
    own = {path.split("/")[0].removesuffix(".py") for path in files}
    passed = own | sys.stdlib_module_names | {"falaj"}
    return sorted(name for name in found if name.partition(".")[0] not in passed)
