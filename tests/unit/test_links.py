"""Documents lead to the code: every link resolves, every name exists, and nothing sought is four hops away."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
CODE = "shared/tessera"
ACQUISITION = f"{CODE}/acquisition"


def _pages() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.splitlines()


def _prose(page: Path) -> str:
    """The page without its blocks of code, in which brackets are no links."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@functools.cache
def _links(page: Path) -> list[tuple[str, Path, str]]:
    """Text, file and fragment of every relative link of a page."""
    found = []
    for text, target in LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = target.partition("#")
        found.append((text, (page.parent / file).resolve() if file else page, fragment))
    return found


@functools.cache
def _names(module: Path) -> set[str]:
    """Functions, classes, methods and assigned names of a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", _pages())
def test_every_link_leads_somewhere(page: str) -> None:
    for text, target, fragment in _links(ROOT / page):
        assert target.exists(), f"{page} links [{text}] to {target}, which is not there"
        assert target.is_relative_to(ROOT), f"{page} links [{text}] out of the repository"
        if line := re.fullmatch(r"L(\d+)", fragment):
            assert int(line[1]) <= len(target.read_text().splitlines()), f"{page}: [{text}] names a line past the end"
        elif fragment:
            assert fragment in _anchors(target), f"{page}: [{text}] names no heading of {target.name}: {fragment}"


@pytest.mark.parametrize("page", _pages())
def test_a_link_that_is_a_name_leads_to_its_definition(page: str) -> None:
    """The text `Records.commit` or `score_regions` beside a module names what the module defines."""
    for text, target, _ in _links(ROOT / page):
        name = re.fullmatch(r"`((?:\w+\.)*\w+)`", text)
        if name is None or target.suffix != ".py" or name[1].endswith(".py") or name[1] == target.stem:
            continue
        missing = set(name[1].split(".")) - _names(target)
        assert not missing, f"{page}: {text} is not in {target.relative_to(ROOT)}: {missing} is not defined there"


def _hops() -> dict[Path, int]:
    """The least number of links from README.md to every file, by breadth-first search over the documents."""
    start = ROOT / "README.md"
    hops, queue = {start: 0}, [start]
    for page in queue:
        for _, target, _ in _links(page):
            if target not in hops:
                hops[target] = hops[page] + 1
                if target.suffix == ".md":
                    queue.append(target)
    return hops


FOUND_SOON = {
    "MEAL's selection": (f"{ACQUISITION}/selection/stages/kmeans_plusplus.py", "kmeans_plusplus"),
    "EquAL": (f"{ACQUISITION}/scoring/scores/equal.py", "equal"),
    "PixBal": (f"{ACQUISITION}/selection/balance.py", "pixbal"),
    "BADGE's gradients": (f"{ACQUISITION}/pooling/features/badge.py", "badge"),
    "BADGE's sampling": (f"{ACQUISITION}/selection/stages/badge.py", "badge"),
    "the job key": (f"{CODE}/runtime/jobkeys.py", "job_key"),
    "the commit order": (f"{CODE}/runtime/records.py", "commit"),
    "the fit of UMAP": (f"{ACQUISITION}/projections/umap/fit.py", "fit"),
    "the entropy kernel": (f"{ACQUISITION}/scoring/kernels/entropy.py", "entropy"),
}


@pytest.mark.parametrize("what", FOUND_SOON)
def test_it_is_at_most_three_hops_from_the_readme(what: str) -> None:
    file, name = FOUND_SOON[what]
    assert name in _names(ROOT / file), f"{what}: {file} defines no {name}"
    hops = _hops()
    assert ROOT / file in hops, f"{what}: no document that README.md leads to links to {file}"
    assert hops[ROOT / file] <= 3, f"{what}: {file} is {hops[ROOT / file]} links from README.md"


def test_the_whole_of_meal_stands_in_one_docstring() -> None:
    file, name = FOUND_SOON["MEAL's selection"]
    tree = ast.parse((ROOT / file).read_text())
    text = next(
        ast.get_docstring(one) or "" for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name
    )
    parts = ("−Σ_c p(c | x) ln p(c | x)", "N_I", "UMAP(", "D(s)² / Σ_{t∈I} D(t)²", "MEAL", "§3.2", "§3.3", "§3.4")
    assert not [part for part in parts if part not in text]


def test_every_path_that_the_architecture_names_is_a_link() -> None:
    """A path in plain code marks would not be followed, so nothing would notice when it moves."""
    bare = LINK.sub("", _prose(ROOT / "ARCHITECTURE.md"))
    paths = [name for name in re.findall(r"`([^`\s]+)`", bare) if name.endswith(".py") or name.endswith("/")]
    assert not paths, f"ARCHITECTURE.md: {paths} are paths; make links of them"


def test_every_document_is_reached_from_the_readme() -> None:
    left = {page for page in _pages() if page.startswith("docs/")} - {
        path.relative_to(ROOT).as_posix() for path in _hops() if path.suffix == ".md"
    }
    assert not left, f"no link leads from README.md to {left}"


@pytest.mark.parametrize("page", [page for page in _pages() if re.fullmatch(r"docs/results/(?!README)\w+\.md", page)])
def test_a_page_of_results_opens_with_question_answer_and_trust(page: str) -> None:
    opening = (ROOT / page).read_text().split("\n\n")[1]
    sentences = re.split(r"(?<=[.?]) (?=[A-Z])", opening.replace("\n", " "))
    assert len(sentences) == 3, f"{page}: the first paragraph has {len(sentences)} sentences; give three"
    assert sentences[0].endswith("?"), f"{page}: begin with the question"
