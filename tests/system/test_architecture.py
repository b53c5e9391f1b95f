"""The folders are those that docs/architecture.md lists, and nothing imports upwards."""

import ast
import re

import pytest

from paths import ROOT

pytestmark = pytest.mark.fast

PACKAGES = {
    "spiccato": ROOT / "hdl" / "spiccato",
    "spiccato_boards": ROOT / "boards" / "spiccato_boards",
    "spiccato_sim": ROOT / "sim" / "spiccato_sim",
    "spiccato_cli": ROOT / "sim" / "spiccato_cli",
}
#: From the ground up: what a module imports lies on a lower floor, or in its own room.
FLOORS = (
    ("spiccato.errors",),
    ("spiccato.arrays", "spiccato.families", "spiccato.files", "spiccato.numbers"),
    ("spiccato.config",),
    ("spiccato.formats", "spiccato.isa", "spiccato.registry"),
    ("spiccato.rtl",),
    ("spiccato.layers", "spiccato.program", "spiccato.verilog"),
    ("spiccato.network",),
    ("spiccato.compiler", "spiccato.host", "spiccato.importers"),
    ("spiccato",),
    ("spiccato_boards",),
    ("spiccato_sim.models",),
    ("spiccato_sim.benches",),
    ("spiccato_sim.analysis",),
    ("spiccato_sim.checks",),
    ("spiccato_sim",),
    ("spiccato_cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules():
    """{name: file} of all modules."""
    found = {}
    for package, folder in PACKAGES.items():
        for file in folder.rglob("*.py"):
            parts = file.relative_to(folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = file
    return found


MODULES = modules()


def imports(name, file, *, nested):
    """The modules of this project that a module imports; also those within functions, if ``nested``."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names]
        else:
            continue
        yield from (module for module in found if module.split(".")[0] in PACKAGES)


def room(module):
    """The longest name on a floor that the module's begins with."""
    parts = module.split(".")
    return next(name for size in (2, 1) if (name := ".".join(parts[:size])) in FLOOR)


def test_rooms():
    """The listing has every folder of sources and of tests, and no other; a line each."""
    text = re.search(r"## The house\n.*?```text\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.S)[1]
    lines = [re.fullmatch(r"(\S+)/ {2,}(\S.*)", line) for line in text.splitlines()]
    assert None not in lines
    listed = [match[1] for match in lines]
    tests = [folder for folder in (ROOT / "tests").iterdir() if folder.is_dir() and folder.name != "__pycache__"]
    rooms = {file.parent for file in MODULES.values() if file.name == "__init__.py"} | set(tests)
    assert sorted(listed) == sorted(str(folder.relative_to(ROOT)) for folder in rooms)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_imports_upwards(name):
    """What a module imports, wherever in it, lies on a lower floor or in its own room."""
    for module in imports(name, MODULES[name], nested=True):
        if room(module) != room(name):
            assert FLOOR[room(module)] < FLOOR[room(name)], f"{name} imports {module}"


def test_no_circles():
    """No module imports, by way of others, itself."""
    graph = {name: set(imports(name, file, nested=False)) & set(MODULES) for name, file in MODULES.items()}
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for other in sorted(graph[name]):
                visit(other)
            done.add(path.pop())

    for name in sorted(graph):
        visit(name)
