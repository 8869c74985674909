"""The house rules that a linter cannot see: module sizes, layout, and what product code must never contain."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = sorted(
    path
    for room in ("shared/tessera", "services")
    for path in (ROOT / room).rglob("*.py")
    if "/pb/" not in path.as_posix() and path.name != "__init__.py"
)


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_median_module_is_short() -> None:
    assert statistics.median(_lines(path) for path in PRODUCT) <= 150


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_is_over_400_lines(path: Path) -> None:
    assert _lines(path) <= 400, f"{path.relative_to(ROOT)} has {_lines(path)} lines; split it by what changes together"


@pytest.mark.parametrize("service", sorted(p.parent.name for p in (ROOT / "services").glob("*/__main__.py")))
def test_a_service_folder_holds_only_what_is_its_own(service: str) -> None:
    folder = ROOT / "services" / service
    # These two have no compute function to be thin around: what one decides and the other shows is its own.
    limit = {"coordinator": 1100, "dashboard": 1700}.get(service, 300)
    assert sum(_lines(path) for path in folder.glob("*.py")) <= limit
    for path in folder.glob("*.py"):
        for other in re.findall(r"(?:from|import) services\.(\w+)", path.read_text()):
            assert other == service, f"{path.name} imports service {other}; share it through tessera instead"


def test_a_class_name_means_one_thing() -> None:
    """A reader who searches for a class finds one; classes made from the protocol are named by the protocol."""
    found: dict[str, list[str]] = {}
    for path in PRODUCT + sorted((ROOT / "shared/tessera").rglob("__init__.py")):
        if "/pb/" in path.as_posix():
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    twice = {name: places for name, places in found.items() if len(places) > 1}
    assert not twice, f"one name for several classes: {twice}; name each by what it is"


def test_a_kernel_takes_at_most_seven_parameters() -> None:
    """Arrays that belong together travel as one named tuple, whose fields say shape and dtype."""
    long = []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            decorators = {one.id for one in node.decorator_list if isinstance(one, ast.Name)}
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if decorators & {"kernel", "threaded"} and len(parameters) > 7:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} takes {len(parameters)}")
    assert not long, long


def test_a_kernel_says_what_its_arrays_are() -> None:
    """Kernels check nothing: the docstring names every array parameter, and says a dtype."""
    silent = []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            if not {"kernel", "threaded"} & {one.id for one in node.decorator_list if isinstance(one, ast.Name)}:
                continue
            doc = ast.get_docstring(node) or ""
            arrays = [
                one.arg
                for one in node.args.args
                if one.annotation
                and re.fullmatch(r"(Float|Int)(8|32|64)|.*NDArray.*|np\.ndarray", ast.unparse(one.annotation))
            ]
            missing = [name for name in arrays if not re.search(rf"``{name}(\[[\w, ]+\])?``", doc)]
            if missing or (arrays and not re.search("int|float", doc)):
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {missing or 'no dtype'}")
    assert not silent, silent


FORBIDDEN_CALLS = {"eval", "exec"}
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN_TEXT = ("torch.load(", "yaml.load(", "allow_pickle=True", "shell=True", "verify=False")


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_product_code_cannot_run_foreign_bytes(path: Path) -> None:
    text = path.read_text()
    assert not [word for word in FORBIDDEN_TEXT if word in text]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & FORBIDDEN_IMPORTS
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in FORBIDDEN_IMPORTS
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS


@pytest.mark.parametrize("library", ["nats", "minio", "grpc", "opentelemetry", "prometheus_client", "cvat_sdk"])
def test_a_wire_library_is_imported_by_one_module(library: str) -> None:
    pattern = re.compile(rf"^\s*(?:from|import) {library}(?:_health|_reflection)?\b(?!-)", re.MULTILINE)
    importers = [path.relative_to(ROOT).as_posix() for path in PRODUCT if pattern.search(path.read_text())]
    assert len(importers) <= 1, f"{library} is imported by {importers}"


DOMAIN = ("regions", "acquisition", "queries", "models", "training", "evaluation", "loop")
IMPURE = {"os", "pathlib", "socket", "time", "random", "subprocess", "asyncio", "requests", "urllib", "io", "tempfile"}


@pytest.mark.parametrize("room", DOMAIN)
def test_domain_packages_are_pure(room: str) -> None:
    for path in (ROOT / "shared" / "tessera" / room).rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = {(node.module or "").split(".")[0]}
            assert not names & IMPURE, f"{path.relative_to(ROOT)} imports {names & IMPURE}"
        calls = re.findall(
            r"np\.random\.(?!Generator|default_rng|PCG64|SeedSequence|Philox|RandomState)\w+", path.read_text()
        )
        assert not calls, f"{path.relative_to(ROOT)} uses global random state: {calls}"


# Memories of pure functions, bounded or of the few values that a package has: what they return depends on their
# arguments alone.
MEMORIES = {"lru_cache", "cache"}
CONTAINERS = {"dict", "list", "set", "OrderedDict", "defaultdict", "deque", "Counter", "WeakValueDictionary"}
CACHES = {"ByteLimitedLRU", "CountLimitedLRU", "BackboneMaps"}


def _module_level_state(tree: ast.Module) -> list[str]:
    """Names that a module binds to something that grows, other than through `between_jobs`; and ``global``s."""
    found = []
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        empty = isinstance(value, ast.Dict | ast.List | ast.Set) and not ast.unparse(value).strip("[]{}")
        call = value.func if isinstance(value, ast.Call) else None
        name = ast.unparse(call).rpartition(".")[2].partition("[")[0] if call is not None else ""
        grows = (name in CONTAINERS and not getattr(value, "args", ())) or name in CACHES
        if empty or grows:
            found.append(ast.unparse(node))
    globals_ = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Global)]
    unbounded = [
        ast.unparse(decorator)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.args.args
        for decorator in node.decorator_list
        if ast.unparse(decorator).rpartition(".")[2] in MEMORIES
    ]
    return found + globals_ + unbounded


@pytest.mark.parametrize("room", [*DOMAIN, "formats"])
def test_no_room_keeps_state_but_in_the_one_object(room: str) -> None:
    for path in (ROOT / "shared" / "tessera" / room).rglob("*.py"):
        kept = _module_level_state(ast.parse(path.read_text()))
        assert not kept, f"{path.relative_to(ROOT)} keeps {kept}; keep it by tessera.between_jobs"


def test_module_level_state_is_seen() -> None:
    for text in (
        "x = {}",
        "x: dict[str, int] = {}",
        "x = collections.OrderedDict()",
        "x = ByteLimitedLRU[str, int](3, len)",
        "def f():\n    global x\n    x = 1",
        "@functools.cache\ndef f(x): ...",
    ):
        assert _module_level_state(ast.parse(text)), text
    for text in (
        "x = {1: 2}",
        "x = between_jobs.keep('a', ByteLimitedLRU(3, len))",
        "@lru_cache(maxsize=2)\ndef f(x): ...",
    ):
        assert not _module_level_state(ast.parse(text)), text


# Ages of files are by the file system's clock, and how long ago a run ended is by ours: to archive it sooner or later
# harms nobody. Leases of questions last over restarts, and to end one sooner or later loses nothing. How far our clock
# is from an S3 server's takes both, and a tracker is told when it is told; links and sessions of the dashboard end at a
# time of day. A span is by the clock of its process, and the age of a waiting job is shown, not acted on. All else is a
# duration; what happened when is the server's word.
WALL_CLOCK = {
    "shared/tessera/runtime/object_cache.py",
    "services/coordinator/archivist.py",
    "shared/tessera/runtime/people/clock.py",
    "shared/tessera/runtime/s3_store.py",
    "shared/tessera/cli/tracking.py",
    "shared/tessera/runtime/tracing.py",
    "shared/tessera/runtime/filling.py",
    "services/dashboard/links.py",
    "services/dashboard/sign_in.py",
}


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_durations_are_monotonic(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() not in WALL_CLOCK:
        assert not re.findall(r"\btime\.time\(|\bdatetime\.(?:now|utcnow|today)\(|\bdate\.today\(", path.read_text())


OWN_WEIGHTS = {"shared/tessera/datasets/street/backbone.safetensors"}  # made by tools/pretrain_street.py


def test_nothing_tracked_is_large_or_not_ours() -> None:
    for path in _tracked():
        if path.relative_to(ROOT).as_posix() in OWN_WEIGHTS:
            continue
        if path.is_file() and "docs/results" not in path.as_posix():
            assert path.stat().st_size < 1_000_000, f"{path.relative_to(ROOT)} is over 1 MB"
            assert path.suffix not in {".pt", ".pth", ".pkl", ".safetensors", ".onnx"}
