"""The directions between the packages, held by reading every syntax tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("eval", "models", "paper_site")
ENTRY_POINTS = {"build_site.py"} | {
    path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("__main__.py")
}
SOURCES = [
    ROOT / "build_site.py",
    *(path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))),
]
ALL_PYTHON = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *ROOT.glob("conftest.py")]

FORBIDDEN = {
    "models": {"eval", "paper_site", "build_site"},
    "eval": {"paper_site", "build_site", "tests"},
    "paper_site": {"eval", "models", "torch", "build_site", "librosa", "tests"},
    "build_site.py": {"torch", "models", "librosa", "tests"},
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_modules(module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"importlib.import_module", "import_module", "__import__"}
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_keep_their_direction(path: Path) -> None:
    forbidden = FORBIDDEN[path.relative_to(ROOT).parts[0]]
    wrong = [
        f"{relative(path)}:{line} imports {name}"
        for line, name in imported_modules(tree(path))
        if name.split(".")[0] in forbidden
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", ALL_PYTHON, ids=relative)
def test_nothing_binds_the_bare_name_eval(path: Path) -> None:
    wrong = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            wrong += [node.lineno for a in node.names if a.name.split(".")[0] == "eval" and a.asname is None]
            wrong += [node.lineno for a in node.names if a.asname == "eval"]
        elif isinstance(node, ast.ImportFrom):
            wrong += [node.lineno for a in node.names if (a.asname or a.name) == "eval" or a.name == "*"]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            wrong += [node.lineno] if node.name == "eval" else []
        elif isinstance(node, ast.arg):
            wrong += [node.lineno] if node.arg == "eval" else []
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            wrong += [node.lineno] if node.id == "eval" else []
    assert not wrong, f"{relative(path)} binds eval at lines {wrong}"


@pytest.mark.parametrize("path", [p for p in SOURCES if relative(p) not in ENTRY_POINTS], ids=relative)
def test_only_entry_points_parse_arguments_log_and_print(path: Path) -> None:
    module = tree(path)
    wrong = [
        f"{relative(path)}:{line} imports {name}"
        for line, name in imported_modules(module)
        if name.split(".")[0] in {"argparse", "logging"}
    ]
    wrong += [
        f"{relative(path)}:{node.lineno} prints"
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, "\n".join(wrong)


def test_one_module_owns_audio_files() -> None:
    owners = {
        relative(path)
        for path in SOURCES
        for _, name in imported_modules(tree(path))
        if name.split(".")[0] in {"soundfile", "audioread", "wave"}
    }
    assert owners == {"eval/audio_io.py"}


@pytest.mark.parametrize("path", sorted((ROOT / "eval" / "metrics").glob("*.py")), ids=relative)
def test_metrics_know_neither_disk_nor_models(path: Path) -> None:
    allowed = {"torch", "numpy", "scipy", "math", "eval", "models"}
    if path.name == "perception.py":
        allowed |= {"pesq", "pystoi", "visqol", "zimtohrli", "soxr"}
    if path.name == "periodicity.py":
        allowed |= {"soxr"}
    if path.name == "world.py":
        allowed |= {"pyworld"}
    for line, name in imported_modules(tree(path)):
        top = name.split(".")[0]
        if top == "models":
            assert name == "models.errors", f"{relative(path)}:{line} imports {name}"
        elif top == "eval":
            assert name.startswith("eval.metrics"), f"{relative(path)}:{line} imports {name}"
        else:
            assert top in allowed or top in sys.stdlib_module_names, f"{relative(path)}:{line} imports {name}"
            assert top not in {"pathlib", "sqlite3", "shutil"}, f"{relative(path)}:{line} touches the disk"


@pytest.mark.parametrize(
    "command",
    [
        ["build_site.py", "--help"],
        ["-m", "eval", "--help"],
        ["-m", "eval", "list"],
        ["-m", "models", "--help"],
        ["-m", "models", "list"],
        ["-m", "paper_site", "--help"],
    ],
    ids=" ".join,
)
def test_light_commands_load_nothing_heavy(command: list[str]) -> None:
    heavy = ("torch", "librosa", "scipy", "pandas", "matplotlib", "numba")
    program = (
        "import runpy, sys\n"
        f"command = {command!r}\n"
        "sys.argv = command[1:] if command[0] == '-m' else command\n"
        "try:\n"
        "    runner = runpy.run_module if command[0] == '-m' else runpy.run_path\n"
        "    runner(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        f"found = [name for name in {heavy!r} if name in sys.modules]\n"
        "assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
