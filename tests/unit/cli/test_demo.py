"""What the demo plans, the command that it names, and what it compares its runs over."""

from __future__ import annotations

from pathlib import Path

from tessera.cli import demo
from unit.reporting import sample


def test_the_demo_asks_for_two_kinds_of_answer_on_one_data_set():
    recipes = [recipe for recipe, _ in demo.plans(1, demo.METHODS, ())]
    assert [recipe.query.name for recipe in recipes] == ["mask", "mask", "multi_class"]
    assert {recipe.training.name for recipe in recipes} == {"supervised", "mulactseg"}
    assert {recipe.budget.rounds for recipe in recipes} == {2}
    assert len({recipe.dataset.model_dump_json() for recipe in recipes}) == 1


def test_a_setting_of_the_user_wins_over_the_demo_s():
    (recipe, wanted), _ = demo.plans(1, ["street_random", "street_meal"], ["budget.rounds=4"])
    assert (recipe.budget.rounds, wanted.seed) == (4, 0)


def test_the_command_repeats_what_was_asked_for():
    assert demo.line(Path("my demo"), 2, demo.METHODS, ()) == "tessera demo --out 'my demo' --seeds 2"
    asked = demo.line(Path("demo"), 1, ["street_random", "street_entropy"], ["training.epochs=5"])
    options = "--methods street_random,street_entropy --set training.epochs=5"
    assert asked == f"tessera demo --out demo --seeds 1 {options}"


def test_runs_without_a_common_range_of_clicks_are_shown_at_their_own_rounds(capsys):
    runs = [sample.summary("street_random"), sample.summary("street_meal")]
    assert demo.common(runs) == "clicks"
    for one in runs[1]["rounds"]:
        one["clicks"] += 1_000_000
    assert demo.common(runs) is None
    assert "no range is covered" in "".join(capsys.readouterr())
