"""The repository checks itself: floors, doors, sizes, words. A rule that is not executed does not exist.

Everything here reads source with `ast`; nothing of the package is imported or run. The order of `__all__` is the
linter's (RUF022), so that there is one opinion about it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fountain"

FUNCTION_LINES_MAX = 70
CLASS_ATTRIBUTES_MAX = 15
FUNCTION_PARAMETERS_MAX = 8

# Classes and functions above these limits: "file:name" -> how many it has. Entries only shrink: a number that is higher
# than what the code has, or that is not needed any more, fails as well. Kernels are excepted: they take arrays and
# numbers one by one, because numba unpacks an object at every call.
CLASSES_ABOVE: dict[str, int] = {
    "fountain/config.py:ServeConfig": 16,  # what `serve` takes: each field is a parameter of its own
    "fountain/wire/group.py:GroupReport": 16,  # a packet: its fields are those of docs/wire-groups.md
}
FUNCTIONS_ABOVE: dict[str, int] = {}

# --- Who may import whom -----------------------------------------------------------------------------------

GROUND = {"_jit", "_version", "errors", "geometry", "limits"}
BYTES = {"field", "integrity", "wire"}
EQUATIONS_AND_RULES = {"codes", "protocol"}
DOORS = {"net", "storage"}
ASKED_AND_SAID = {"config", "events", "sentences"}

# An area (a package, or a module that stands alone) -> the areas that it may import. Strictly down, never sideways.
MAY_IMPORT: dict[str, set[str]] = {
    "_jit": {"_version"},
    "_version": set(),
    "errors": set(),
    "limits": set(),
    "geometry": {"errors", "limits"},
    "field": GROUND,
    "integrity": GROUND,
    "wire": GROUND,
    "trust": GROUND | {"integrity", "wire"},
    "codes": GROUND | {"field"},
    "protocol": GROUND | {"integrity", "wire"},
    "storage": GROUND | {"integrity", "wire"},
    "net": GROUND | {"integrity", "wire"},
    "config": GROUND | {"protocol", "storage", "trust"},
    "events": GROUND | {"wire", "protocol"},
    "sentences": GROUND | {"wire", "protocol", "events"},
    "engine": GROUND | BYTES | EQUATIONS_AND_RULES | DOORS | ASKED_AND_SAID | {"trust"},
    "doctor": GROUND | BYTES | EQUATIONS_AND_RULES | DOORS | {"engine"},
    "testing": GROUND | BYTES | EQUATIONS_AND_RULES | DOORS | {"engine"},
    "api": GROUND | ASKED_AND_SAID | {"engine", "storage"},
    "cli": GROUND | BYTES | EQUATIONS_AND_RULES | DOORS | ASKED_AND_SAID | {"engine", "doctor", "trust"},
}
# Floors within an area: a package of it -> those below, of which it may import. Files beside them are on the lowest.
FLOORS_WITHIN: dict[str, dict[str, set[str]]] = {
    "codes": {"solver": set(), "raptorq": {"solver"}, "lt": {"solver"}},
    "protocol": {
        "base": set(),
        "rate": {"base"},
        "schedule": {"base", "rate"},
        "session": {"base", "rate", "schedule"},
        "group": {"base", "rate", "schedule"},
    },
    "engine": {"runtime": set(), "serving": {"runtime"}, "receiving": {"runtime"}},
}
ROOF = {"__init__", "__main__"}  # lazily, these may name anything

# Modules of the outside world with one door: who may import them.
DOOR_KEEPERS: dict[str, set[str]] = {
    "socket": {"net"},
    "socketserver": {"net"},
    "ssl": {"net"},
    "asyncio": set(),
    "argparse": {"cli"},
    "rich": {"cli"},
    "tempfile": {"_jit", "storage"},  # where machine code lies when no other place can be written
}
# A core that cannot do I/O: what would make it depend on more than its arguments.
PURE_MODULES_NEVER = {"os", "random", "secrets", "select", "selectors", "socket", "subprocess", "threading", "time"}
NEVER: dict[str, set[str]] = {
    "protocol": PURE_MODULES_NEVER | {"datetime", "numba", "numpy"},
    "codes": PURE_MODULES_NEVER - {"threading"},
    "wire": PURE_MODULES_NEVER,
    "field": PURE_MODULES_NEVER - {"os"},  # an environment variable may choose the SIMD tier
    "trust": PURE_MODULES_NEVER - {"time"},  # it knows the local time zone; what time it is comes in from outside
    "geometry": PURE_MODULES_NEVER,
    "limits": PURE_MODULES_NEVER,
}

# Constants that each command has, and one that two rules of a group's server have.
ONE_IN_EACH = {"EXAMPLES", "PROG"}

LEFTOVER = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def in_each(paths: list[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """One test a rule: it looks at every file, and lists every one that breaks the rule."""

    def decorate(check: Callable[[Path], None]) -> Callable[[], None]:
        def look_at_all() -> None:
            broken = []
            for path in paths:
                try:
                    check(path)
                except AssertionError as error:
                    broken.append(str(error).partition("\nassert ")[0])
            assert not broken, "\n".join(broken)

        look_at_all.__name__ = look_at_all.__qualname__ = check.__name__
        return look_at_all

    return decorate


IN_PACKAGE = in_each(sources("fountain"))
IN_PROJECT = in_each(sources("fountain", "tests", "bench", "examples"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def area(path: Path) -> str:
    """The package that `path` belongs to, or its own name where it stands alone."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported anywhere in the file, `from a import b` as `a.b`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}:{node.lineno}: imports are absolute, so that floors can be read"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def calls(node: ast.AST) -> Iterator[ast.Call]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))


def dotted(node: ast.AST) -> str:
    """`a.b.c` for a chain of names; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


# --- Floors ------------------------------------------------------------------------------------------------


@IN_PACKAGE
def test_imports_go_strictly_down(path: Path) -> None:
    here = area(path)
    if here in ROOF:
        return
    public = exported_names(PACKAGE / "__init__.py")  # what anyone who uses the library may name, its commands may too
    assert here in MAY_IMPORT, f"{here} has no floor: add it to MAY_IMPORT"
    allowed = MAY_IMPORT[here] | {here} | (public if here == "cli" else set())
    wrong = []
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "fountain" and parts[1] not in allowed:
            wrong.append(f"{named(path)}:{line}: {here} imports {name}")
    assert not wrong, "\n".join(wrong)


@IN_PACKAGE
def test_imports_within_an_area_go_strictly_down(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    floors = FLOORS_WITHIN.get(parts[0], {})
    if len(parts) < 3:
        return
    allowed = floors.get(parts[1], set()) | {parts[1]}
    for line, name in imports(path):
        other = name.split(".")
        if other[:2] == ["fountain", parts[0]] and other[2] in floors:
            assert other[2] in allowed, f"{named(path)}:{line}: {parts[0]}/{parts[1]} imports {name}"


def test_no_two_files_import_each_other() -> None:
    modules = {}
    for path in sources("fountain"):
        dotted_name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        names = [name for _, name in imports(path)]
        modules[dotted_name] = {name if module_path(name).exists() else name.rpartition(".")[0] for name in names}
    pairs = [(a, b) for a in modules for b in modules[a] if a < b and a in modules.get(b, ())]
    assert not pairs


def test_floors_have_no_cycle() -> None:
    settled: set[str] = set()
    while len(settled) < len(MAY_IMPORT):
        ready = {here for here, below in MAY_IMPORT.items() if here not in settled and below - {here} <= settled}
        assert ready, f"these areas may import each other in a circle: {set(MAY_IMPORT) - settled}"
        settled |= ready


def test_public_constants_with_one_name_have_one_value() -> None:
    values: dict[str, dict[str, list[str]]] = {}
    for path in sources("fountain"):
        for node in tree(path).body:
            if isinstance(node, ast.Assign) and re.fullmatch("[A-Z][A-Z0-9_]*", name := ast.unparse(node.targets[0])):
                values.setdefault(name, {}).setdefault(ast.unparse(node.value), []).append(named(path))
    several = {name: places for name, places in values.items() if len(places) > 1 and name not in ONE_IN_EACH}
    assert not several


@IN_PACKAGE
def test_the_outside_world_has_one_door_each(path: Path) -> None:
    here = area(path)
    for line, name in imports(path):
        top = name.split(".")[0]
        where = f"{named(path)}:{line}"
        assert top not in NEVER.get(here, ()), f"{where}: {here} must not depend on {top}"
        assert here in DOOR_KEEPERS.get(top, {here}), f"{where}: only {DOOR_KEEPERS[top] or 'nobody'} imports {top}"
        if top == "rich":
            assert path == PACKAGE / "cli" / "display.py", f"{where}: only fountain/cli/display.py imports rich"


@IN_PACKAGE
def test_only_storage_opens_files(path: Path) -> None:
    if area(path) == "storage":
        return
    for call in calls(tree(path)):
        name = dotted(call.func)
        opens = name in {"open", "os.open", "io.open", "os.fdopen"}
        method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        opens |= method in {"read_text", "read_bytes", "write_text", "write_bytes"}
        assert not opens, f"{named(path)}:{call.lineno}: {name or method} opens a file outside fountain.storage"


@IN_PACKAGE
def test_no_import_hides_in_a_string(path: Path) -> None:
    if area(path) in ROOF:
        return
    for call in calls(tree(path)):
        name = dotted(call.func)
        hidden = name in {"__import__", "import_module", "importlib.import_module"}
        assert not hidden, f"{named(path)}:{call.lineno}: {name} goes around the floors"


# --- Kernels -----------------------------------------------------------------------------------------------

DECORATORS = {"kernel", "inlined"}
COMPILER = {"numba", "llvmlite"}
FOR_INTRINSICS = ("numba.extending", "numba.core", "numba.types", "llvmlite")


@cache
def jitted(path: Path) -> dict[str, ast.FunctionDef]:
    """Functions of this file that numba compiles."""
    found = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            names = {dotted(item.func if isinstance(item, ast.Call) else item) for item in node.decorator_list}
            if any(name.split(".")[-1] in DECORATORS | {"intrinsic"} for name in names):
                found[node.name] = node
    return found


def module_path(name: str) -> Path:
    path = ROOT / Path(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@IN_PACKAGE
def test_numba_is_used_through_the_one_decorator(path: Path) -> None:
    if path == PACKAGE / "_jit.py":
        return
    names = list(imports(path))
    through_jit = any(name.startswith("fountain._jit.") for _, name in names)
    for line, name in names:
        if name.split(".")[0] in COMPILER:
            where = f"{named(path)}:{line}: {name}"
            assert name.startswith(FOR_INTRINSICS), f"{where}: kernels are compiled through fountain._jit alone"
            assert through_jit, f"{where}: intrinsics stand in the file of the kernels that use them"


@IN_PACKAGE
def test_kernels_call_jitted_functions_of_their_own_file_only(path: Path) -> None:
    foreign: dict[str, str] = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fountain."):
            other = module_path(str(node.module))
            compiled = jitted(other) if other.exists() else {}
            foreign |= {alias.asname or alias.name: str(node.module) for alias in node.names if alias.name in compiled}
    for name, function in jitted(path).items():
        for call in calls(function):
            callee = dotted(call.func)
            assert callee not in foreign, (
                f"{named(path)}:{call.lineno}: {name} calls {callee} of {foreign.get(callee)}; "
                "numba's cache would not see a change there"
            )


@IN_PACKAGE
def test_kernels_raise_nothing(path: Path) -> None:
    for name, function in jitted(path).items():
        if any(dotted(item).endswith("intrinsic") for item in function.decorator_list):
            continue
        for node in ast.walk(function):
            wrong = isinstance(node, (ast.Raise, ast.Assert, ast.Try))
            assert not wrong, f"{named(path)}:{getattr(node, 'lineno', 0)}: kernel {name} raises; return a status"


# --- Shape -------------------------------------------------------------------------------------------------


@IN_PROJECT
def test_every_module_says_what_it_is_for(path: Path) -> None:
    if path.stat().st_size or path.is_relative_to(PACKAGE):
        assert ast.get_docstring(tree(path)), f"{named(path)} has no docstring"


def defined_names(module: ast.Module) -> tuple[set[str], set[str]]:
    """(functions and classes, everything else) that the top level of a module defines or re-exports."""
    made: set[str] = set()
    other: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node in module.body:
            made.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            other |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            other |= {alias.asname or alias.name for alias in node.names}
    return made, other


@cache
def exported_names(path: Path) -> set[str]:
    for node in tree(path).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if dotted(target) == "__all__":
                return set(ast.literal_eval(node.value))
    return set()


@IN_PACKAGE
def test_exports_are_exactly_the_public_functions_and_classes(path: Path) -> None:
    made, other = defined_names(tree(path))
    hidden = {name for name in made if not name.startswith("_")} - exported_names(path)
    assert not hidden, f"{named(path)}: export {sorted(hidden)} in __all__, or begin the names with an underscore"
    unknown = exported_names(path) - made - other
    assert not unknown, f"{named(path)}: __all__ names {sorted(unknown)}, which the module does not define"


@IN_PACKAGE
def test_what_others_import_is_exported(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fountain."):
            home = module_path(str(node.module))
            if not home.exists():
                continue  # the import fails by itself, with a better message
            names = {alias.name for alias in node.names if not alias.name.startswith("_")}
            names = {name for name in names if not module_path(f"{node.module}.{name}").exists()}
            secret = names - exported_names(home)
            assert not secret, f"{named(path)}:{node.lineno}: {node.module} does not export {sorted(secret)}"


@IN_PROJECT
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{named(path)}:{node.lineno}: {node.name} has {length} lines"


def defined(path: Path, *kinds: type[ast.AST]) -> Iterator[tuple[str, Any]]:
    """(dotted name, node) of every definition of these kinds in the file, nested ones included."""

    def below(node: ast.AST, outer: str) -> Iterator[tuple[str, Any]]:
        for child in ast.iter_child_nodes(node):
            name = outer
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{outer}.{child.name}" if outer else child.name
                if isinstance(child, kinds):
                    yield name, child
            yield from below(child, name)

    return below(tree(path), "")


def attributes(class_: ast.ClassDef) -> set[str]:
    """Names that its methods assign to self, or that its body annotates; not what belongs to the class itself."""
    found = set()
    for item in class_.body:
        if isinstance(item, ast.AnnAssign) and "ClassVar" not in ast.unparse(item.annotation):
            found.add(ast.unparse(item.target))
        elif isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(item):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and dotted(node.value) == "self":
                    found.add(node.attr)
    return found


def parameter_count(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Parameters without self or cls."""
    arguments = function.args
    names = [item.arg for item in (*arguments.posonlyargs, *arguments.args)]
    several = sum(item is not None for item in (arguments.vararg, arguments.kwarg))
    return len(names) - (names[:1] in (["self"], ["cls"])) + len(arguments.kwonlyargs) + several


def compare_with(exceptions: dict[str, int], limit: int, counts: dict[str, int]) -> None:
    above = {name: count for name, count in counts.items() if count > limit}
    wrong = [
        f"{name}: {count}; at most {exceptions.get(name, limit)}"
        for name, count in above.items()
        if count > exceptions.get(name, limit)
    ]
    wrong += [
        f"{name}: it has {counts.get(name, 0)}; write that for {count}, or drop the entry at {limit} or fewer"
        for name, count in exceptions.items()
        if count > above.get(name, 0)
    ]
    assert not wrong, "\n".join(wrong)


def test_classes_hold_few_attributes() -> None:
    counts = {
        f"{named(path)}:{name}": len(attributes(class_))
        for path in sources("fountain")
        for name, class_ in defined(path, ast.ClassDef)
    }
    compare_with(CLASSES_ABOVE, CLASS_ATTRIBUTES_MAX, counts)


def test_functions_take_few_parameters() -> None:
    counts = {
        f"{named(path)}:{name}": parameter_count(function)
        for path in sources("fountain")
        for name, function in defined(path, ast.FunctionDef, ast.AsyncFunctionDef)
        if name not in jitted(path)
    }
    compare_with(FUNCTIONS_ABOVE, FUNCTION_PARAMETERS_MAX, counts)


# --- Words -------------------------------------------------------------------------------------------------

OPTION = re.compile(r"(?<![\w-])(?:--[a-z][a-z-]+|-[io](?![\w-]))")


@IN_PACKAGE
def test_only_the_command_line_names_options(path: Path) -> None:
    if area(path) == "cli":
        return
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = OPTION.search(line)
        assert not found, (
            f"{named(path)}:{number}: {found and found[0]}: name the parameter, `field` of fountain.config"
        )


def texts() -> list[Path]:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    return sources("fountain", "tests", "bench", "examples") + pages


def test_nothing_is_left_for_later() -> None:
    left = [
        f"{named(path)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if LEFTOVER.search(line)
    ]
    assert not left, "\n".join(left)


def test_the_version_stands_in_one_place() -> None:
    version = re.search(r'__version__ = "(.+)"', (PACKAGE / "_version.py").read_text())
    assert version
    again = [named(path) for path in sources("fountain") if f'"{version[1]}"' in path.read_text()]
    assert again == ["fountain/_version.py"]
