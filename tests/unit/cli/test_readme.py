"""What the README tells a user to type exists: commands, options, recipes, targets of make, and files it links to."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest
import typer

from tessera.cli import recipes
from tessera.cli.main import app

ROOT = Path(__file__).resolve().parents[3]
README = "\n".join(
    (ROOT / page).read_text() for page in ("README.md", "docs/data.md", "docs/extending.md", "recipes/README.md")
)
BLOCKS = [line.strip() for block in re.findall(r"```\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = sorted({line.split("#")[0].strip() for line in BLOCKS if line.startswith("tessera ")})


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_exists(line: str) -> None:
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"README: tessera has no {words[0]!r}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        assert not word.startswith("--") or word in known, f"README: {line!r} has no option {word}"


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("tessera run street")])
def test_a_recipe_and_settings_of_the_readme_are_valid(line: str) -> None:
    words = shlex.split(line)
    settings = [value for key, value in itertools.pairwise(words) if key == "--set"]
    assert recipes.load(words[2], settings).recipe == words[2]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", "\n".join(BLOCKS), re.MULTILINE))))
def test_a_make_target_of_the_readme_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/data.md",
        "docs/extending.md",
        "docs/recipes.md",
        "docs/results/README.md",
        "recipes/README.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{page} links to {target}, which is not there"
