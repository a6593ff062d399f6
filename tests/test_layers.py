"""Who may import and include whom, read from the sources."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "uner3d"

# Each layer may import those above it and itself. What stands in one line may import each other.
LAYERS = (
    {"_C"},
    {"ops"},
    {"info", "device"},
    {"render"},
    {"model"},
    {"train"},
    {"cloud"},  # uses the photos, frames and schedules of a training run
    {"report"},
    {"api"},
    {"reconstruct", "evaluate", "held_out", "protocols", "view", "pose", "bench"},
    {"cli", "options", "synth_arguments", "across", "published"},
)
HELPERS = {"files", "optional", "progress"}  # of any layer but ops, config and data; they import nothing of ours
OPTIONAL = {"open3d", "viser", "pycolmap", "rich", "torchmetrics", "matplotlib", "scipy", "PIL"}
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


class Import(NamedTuple):
    file: str  # relative to the package
    line: int
    module: str
    at_module_level: bool

    def __str__(self) -> str:
        return f"uner3d/{self.file}:{self.line} imports {self.module}"

    @property
    def ours(self) -> str | None:
        """The part of uner3d that is imported ("" for the package itself), None for others' modules."""
        names = self.module.split(".")
        return None if names[0] != "uner3d" else names[1] if len(names) > 1 else ""

    @property
    def importer(self) -> str:
        return Path(self.file).parts[0].removesuffix(".py")


def runtime_nodes(node: ast.AST, in_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes with whether they lie in a function; what only a type checker runs is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child, in_function
        inside = in_function or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from runtime_nodes(child, inside)


def imported_names(node: ast.AST, package: list[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = package[: len(package) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    return [f"{module}.{alias.name}" for alias in node.names] if module == "uner3d" else [module]


def imports_of(source: str, file: str) -> list[Import]:
    package = ["uner3d", *Path(file).parts[:-1]]
    return [
        Import(file, node.lineno, name, not in_function)
        for node, in_function in runtime_nodes(ast.parse(source))
        for name in imported_names(node, package)
    ]


IMPORTS = [
    found
    for path in sorted(PACKAGE.rglob("*.py"))
    for found in imports_of(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix())
]


def breaks_order(found: Import) -> bool:
    """Whether an import between two layers goes from left to right."""
    importer, ours = found.importer, found.ours
    return importer in RANKS and ours in RANKS and RANKS[importer] < RANKS[ours]


def test_imports_are_read():
    """The reader sees what the rules below are about."""
    source = (
        "import numpy as np\nfrom . import photos\nfrom ..ops import knn\n"
        "from .. import config\nfrom uner3d import api\n"
        "def f():\n    import scipy.spatial\n"
        "if TYPE_CHECKING:\n    import viser\n"
        "try:\n    import rich\nexcept ImportError:\n    pass\n"
    )
    found = [(i.module, i.at_module_level) for i in imports_of(source, "train/fit.py")]
    expected = ["numpy", "uner3d.train", "uner3d.ops", "uner3d.config", "uner3d.api"]
    assert found == [*((name, True) for name in expected), ("scipy.spatial", False), ("rich", True)]
    assert breaks_order(imports_of("from ..cloud import ply", "train/fit.py")[0])
    assert not breaks_order(imports_of("from ..train import fit", "cloud/ply.py")[0])
    assert any(i.importer == "cli" and i.ours == "api" for i in IMPORTS)
    assert any(i.importer == "ops" and i.ours == "_C" for i in IMPORTS)


def test_every_part_has_a_layer():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert parts - set(RANKS) - HELPERS - {"__init__", "__main__", "config", "data"} == set()


def test_no_layer_imports_one_to_its_right():
    assert [str(i) for i in IMPORTS if breaks_order(i)] == []


def test_only_ops_touches_the_compiled_module():
    assert {i.importer for i in IMPORTS if i.ours and i.ours.startswith("_C")} <= {"ops"}


def test_the_package_imports_nothing_by_itself():
    """`import uner3d` is to cost nothing; what it exports is loaded when first asked for."""
    found = [i for i in IMPORTS if i.file == "__init__.py" and i.at_module_level]
    assert {i.module for i in found} <= {"typing", "__future__"}


def test_ops_need_torch_and_numpy_alone():
    theirs = {"torch", "numpy", *sys.stdlib_module_names}
    found = [i for i in IMPORTS if i.importer == "ops"]
    assert len(found) > 20
    foreign = [i for i in found if i.ours is None and i.module.split(".")[0] not in theirs]
    above = [i for i in found if i.ours not in (None, "ops", "_C")]
    assert [str(i) for i in foreign + above] == []


def test_config_and_helpers_import_nothing_of_ours():
    found = [i for i in IMPORTS if i.importer in {"config", *HELPERS} and i.ours is not None]
    assert [str(i) for i in found if i.ours != i.importer] == []


def test_data_knows_no_kernel():
    """Nor anything else that does: it stands on the helpers alone."""
    found = [i for i in IMPORTS if i.importer == "data" and i.ours is not None]
    assert len(found) > 20
    assert [str(i) for i in found if i.ours not in {"data", *HELPERS}] == []


def test_kernels_rendering_and_model_know_no_files():
    found = [i for i in IMPORTS if i.importer in {"ops", "render", "model"}]
    assert [str(i) for i in found if i.ours in {"data", *HELPERS}] == []


def test_optional_packages_are_imported_where_they_are_needed():
    found = [i for i in IMPORTS if i.module.split(".")[0] in OPTIONAL]
    assert len(found) > 3
    assert [str(i) for i in found if i.at_module_level] == []


def test_only_the_command_line_imports_tyro():
    assert {i.file for i in IMPORTS if i.module.split(".")[0] == "tyro"} == {"cli.py", "synth_arguments.py"}


@pytest.mark.slow
def test_kernels_and_fit_import_without_optional_packages(tmp_path):
    script = (
        f"import sys\nfor name in {sorted(OPTIONAL | {'tyro'})}: sys.modules[name] = None\n"
        "import uner3d.ops, uner3d.data, uner3d.train.fit, uner3d.cloud.generate, uner3d.cloud.ply\n"
    )
    # Elsewhere than in the checkout, whose sources would be found before the installed package.
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
MAY_INCLUDE = {
    "core": {"core"},
    "ops": {"core", "ops"},
    "cpu": {"core", "ops", "cpu"},
    "cuda": {"core", "ops", "cuda"},
    "bind": {"core", "ops", "cpu", "bind"},  # not cuda: its contracts are in ops, and its headers need a CUDA compiler
}
FOREIGN = {
    "torch": re.compile(r"^(torch|ATen|c10|caffe2)/"),
    "Python": re.compile(r"^(pybind11/|Python\.h)"),
    "CUDA": re.compile(r"^(cuda|cub/|thrust/|cooperative_groups|vector_types|device_launch|curand|nv/)"),
}
MAY_USE = {"torch": set(), "Python": {"bind"}, "CUDA": {"cuda"}}


def includes() -> Iterator[tuple[Path, str, str]]:
    """File, quote and what is included, for all of csrc."""
    for path in sorted((ROOT / "csrc").rglob("*")):
        if path.suffix in (".h", ".cpp", ".cu", ".cuh"):
            for quote, target in INCLUDE.findall(path.read_text(encoding="utf-8")):
                yield path.relative_to(ROOT / "csrc"), quote, target


def test_sources_include_their_own_layer_and_those_below():
    quoted = [(path, target) for path, quote, target in includes() if quote == '"']
    assert len(quoted) > 50
    for path, target in quoted:
        layer = ((ROOT / "csrc" / path).parent / target).resolve().relative_to(ROOT / "csrc").parts[0]
        assert layer in MAY_INCLUDE[path.parts[0]], f'csrc/{path} includes "{target}"'


@pytest.mark.parametrize("library", FOREIGN)
def test_sources_include_foreign_headers_where_they_belong(library):
    found = [(path, target) for path, _, target in includes() if FOREIGN[library].match(target)]
    assert {path.parts[0] for path, _ in found} == MAY_USE[library], found
