import dataclasses
import html.parser
import re

import numpy as np
import pytest

from tessera.errors import BadInput
from tessera.reporting import Drawing, DrawnRegion, ReportData, RunReport, Scatter, compare, curve, render, table
from tessera.reporting.compare import mean_and_interval, short_names
from tessera.reporting.markup import Markup, el
from tessera.reporting.numbers import count, duration, nice_ticks, signed
from unit.reporting import sample

EVIL = "<script>alert('x')</script>\"&"


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text, and checks that elements nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.urls, self.text, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"unclosed {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.urls += [value for name, value in attrs if name in ("href", "src", "xlink:href", "srcset", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page():
    return render(sample.comparison())


def test_the_page_is_self_contained(page):
    parsed = Page(page)
    assert parsed.urls, "images and links to sections"
    assert all(url.startswith(("#", "data:image/jpeg;base64,")) for url in parsed.urls)
    assert "script" not in parsed.tags
    assert "link" not in parsed.tags
    assert "http" not in re.sub(r"http-equiv", "", page)
    anchors = [url[1:] for url in parsed.urls if url.startswith("#")]
    assert all(f'id="{anchor}"' in page for anchor in anchors)
    assert len(page) < 6_000_000


def test_every_promised_part_is_there(page):
    text = " ".join(Page(page).text)
    for part in (
        "Learning curves", "Results and cost", "Paired differences", "IoU by class", "What was chosen, by class",
        "Chosen regions", "Candidates and choice", "Rounds", "Provenance", "Published and measured", "make demo",
        "How street_meal differs from the paper", "Street scenes instead of CamVid.", "0, 1", "checkpoint".title(),
    ):  # fmt: skip
        assert part in text, part
    assert page.count("<svg") == page.count("</svg>")
    charts = re.findall(r'<svg[^>]*role="img"[^>]*>(.{0,7})', page)
    assert charts
    assert all(start.startswith("<title>") for start in charts), "every picture has a name"


def test_names_are_escaped_everywhere():
    names = [EVIL, *sample.NAMES[1:]]
    base = sample.summary(
        recipe=f"a_{EVIL}", deviations=[EVIL], versions={EVIL: EVIL}, targets={f"val_miou{EVIL}": 0.5}
    )
    base["dataset"] = {"name": EVIL, "splits": {EVIL: 3}, "classes": names, "manifest_sha256": EVIL}
    for one in base["rounds"]:
        one["selection_sha256"] = EVIL
    drawn = Drawing(EVIL, np.zeros((20, 30, 3), np.uint8), (DrawnRegion.box(0, (2, 3, 10, 12)),))
    run = sample.run()
    rounds = tuple(type(one)(one.round, (drawn,), one.class_pixels, one.scatter) for one in run.rounds)
    report = ReportData(EVIL, (RunReport(base, rounds),), EVIL, {EVIL: EVIL})
    text = render(report)
    assert "script" not in Page(text).tags
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 15


def test_pixels_of_the_outline_are_the_regions():
    drawn = Drawing("im", np.zeros((20, 30, 3), np.uint8), (DrawnRegion.box(4, (2, 3, 10, 12)),))
    run = sample.run(rounds=2)
    rounds = (type(run.rounds[0])(0, (drawn,)),)
    text = render(ReportData("t", (RunReport(run.summary, rounds),)))
    assert "M3 2L12 2L12 10L3 10Z" in text
    assert ">5</text>" in text, "ranks read from 1"
    assert 'viewBox="0 0 30 20"' in text


def test_a_single_run_and_a_run_without_extras():
    text = " ".join(Page(render(ReportData("one", (sample.run(pictures=False),)))).text)
    assert "Paired differences" not in text
    assert "Chosen regions" not in text
    bare = sample.summary(rounds=1)
    bare["auc"] = {"val": None, "test": None}
    bare["rounds"][0]["test"]["miou"] = None
    del bare["rounds"][0]["val"]
    Page(render(ReportData("bare", (RunReport(bare),))))


def test_reference_arm_is_a_level_and_not_a_pair():
    full = sample.summary("street_supervised", rounds=1)
    full["rounds"][0]["regions_fraction"] = 1.0
    runs = [sample.summary("street_random", lift=0), sample.summary("street_meal"), full]
    found = compare(runs)
    assert [group.reference for group in found.groups] == [False, False, True]
    assert {one.recipe for one in found.differences} == {"street_meal"}
    assert "whole pool:" in render(ReportData("t", tuple(RunReport(run) for run in runs)))


def test_differences_are_paired_by_seed_against_the_random_arm():
    runs = [
        sample.summary(name, seed, lift)
        for name, lift in (("street_meal", 0.1), ("street_random", 0))
        for seed in (0, 1, 2)
    ]
    runs = [run for run in runs if (run["recipe"], run["seed"]) != ("street_random", 2)]
    one = next(d for d in compare(runs).differences if (d.split, d.measure) == ("test", "final"))
    assert (one.recipe, one.baseline, one.seeds) == ("street_meal", "street_random", (0, 1))
    last = {(run["recipe"], run["seed"]): run["rounds"][-1]["test"]["miou"] for run in runs}
    expected = [last["street_meal", seed] - last["street_random", seed] for seed in (0, 1)]
    assert one.differences == pytest.approx(expected)
    assert one.mean == pytest.approx(np.mean(expected))
    half = 12.706 * np.std(expected, ddof=1) / np.sqrt(2)
    assert one.interval == pytest.approx((one.mean - half, one.mean + half))


def test_unequal_budgets_are_not_paired():
    runs = [sample.summary("street_random", lift=0), sample.summary("street_meal", rounds=4)]
    assert compare(runs).differences == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint_policy": "best_val"}, "checkpoint policy"),
        ({"dataset": {"name": "camvid", "manifest_sha256": "e"}}, "data set"),
        ({"recipe": "street_random"}, "twice"),
    ],
)
def test_runs_that_must_not_be_compared_are_refused(changes, message):
    with pytest.raises(BadInput, match=message):
        compare([sample.summary("street_random"), {**sample.summary("street_meal"), **changes}])
    with pytest.raises(BadInput, match="no runs"):
        compare([])


def test_interval_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    values = [0.1, 0.3, 0.2, 0.5]
    mean, found = mean_and_interval(values)
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert mean == pytest.approx(np.mean(values))
    assert found == pytest.approx(expected, abs=1e-3)
    assert mean_and_interval([0.4]) == (0.4, None)


def test_text_curve_and_table():
    runs = [one.summary for one in sample.comparison().runs]
    plot = curve(runs, "test", width=60, height=12)
    assert all(len(line) <= 60 for line in plot.splitlines()), max(plot.splitlines(), key=len)
    assert plot.count("o") + plot.count("*") >= 8
    assert "street_random (mean of 2 seeds)" in plot
    text = table(runs)
    mean = np.mean([run["rounds"][-1]["test"]["miou"] for run in runs if run["recipe"] == "street_meal"])
    assert f"{mean:.3f}" in text
    assert "street_meal − street_random" in text
    assert curve([{**runs[0], "rounds": []}]) == "no test measurement yet"


def test_costs_are_means_over_seeds_wherever_they_are_told():
    def run(seed: int, clicks: int, seconds: float):
        made = sample.summary(seed=seed)
        made["rounds"][-1] |= {"clicks": clicks, "labelling_seconds": seconds}
        return made

    runs = [run(0, 1_000, 3_600.0), run(1, 2_000, 7_200.0)]
    told = table(runs)
    assert "1,500" in told
    assert duration(5_400.0) in told
    text = " ".join(Page(render(ReportData("t", tuple(RunReport(one) for one in runs)))).text)
    assert "1,500 clicks" in text
    assert text.count("1,500") == 2  # the tile and the table
    assert duration(5_400.0) in text


def test_short_names():
    assert short_names(["street_random", "street_meal"]) == {"street_random": "random", "street_meal": "meal"}
    names = ["meal_camvid_meal_frozen", "meal_camvid_meal_ft_frozen"]
    assert short_names(names)[names[1]] == "ft" or "ft" in short_names(names)[names[1]]
    assert len(set(short_names(names).values())) == 2
    assert short_names(["only_one"]) == {"only_one": "only_one"}


def test_markup_escapes_text_and_attributes_but_not_markup():
    assert el("b", "<", el("i", "&"), title='"<') == '<b title="&quot;&lt;">&lt;<i>&amp;</i></b>'
    assert isinstance(el("b"), Markup)


def test_numbers_read_well():
    assert (count(1234), count(123_456), count(2_500_000)) == ("1,234", "123 k", "2.5 M")
    assert (duration(3.21), duration(75), duration(3599), duration(7260)) == (
        "3.2 s",
        "1 min 15 s",
        "1 h 00 min",
        "2 h 01 min",
    )
    assert signed(-0.0123) == "−0.012"
    assert nice_ticks(0.27, 0.53) == [0.3, 0.35, 0.4, 0.45, 0.5]


def test_a_run_that_has_no_round_yet_still_makes_a_page():
    empty = sample.summary("street_meal", rounds=1, status="failed")
    empty["rounds"] = []
    report = ReportData("t", (RunReport(sample.summary("street_random")), RunReport(empty)))
    assert "no rounds" in " ".join(Page(render(report)).text)
    assert "street_meal" in table([run.summary for run in report.runs])


def test_the_choice_of_each_round_and_its_plane():
    made = sample.run("street_meal", 0)
    points = np.random.default_rng(0).normal(size=(5000, 2))
    ranks = np.full(5000, -1)
    ranks[:3], ranks[10:14] = [0, 1, 2], -2
    rounds = (
        *made.rounds[:1],
        dataclasses.replace(made.rounds[1], scatter=Scatter(points, ranks, "planed <down>", points)),
    )
    page = render(ReportData("t", (dataclasses.replace(made, rounds=rounds),)))
    assert "How alike the chosen are" in page
    assert "×1.20" in page
    assert "180 in 2-D" in page
    assert "planed &lt;down&gt; · distance ×1.20 of random" in page
    plane = page[page.index('class="chart scatter"') :]
    plane = plane[: plane.index("</svg>")]
    assert plane.count('class="pool"') == plane.count('class="other"') == 1500
    assert plane.count('class="before"') == 4
    assert plane.count("chosen, rank") == 3
    summary = {**made.summary, "rounds": [{**one, "batch": None} for one in made.summary["rounds"]]}
    assert "How alike" not in render(ReportData("t", (dataclasses.replace(made, summary=summary),)))


def test_the_parts_of_each_rounds_losses_are_drawn():
    from tessera.reporting.training import by_part

    found = by_part([1, 1, 1, 2, 2, 2], ["a"] * 6, ["ce", "nce", "bank"] * 2, [2.0, 0.5, 900.0, 1.0, 0.25, 1000.0])
    assert found == {"ce": ((1.0, 2.0), (2.0, 1.0)), "nce": ((1.0, 0.5), (2.0, 0.25))}  # a count is no loss
    assert list(by_part([1, 2], ["a", "b"], ["ce", "ce"], [1.0, 2.0])) == ["a ce", "b ce"]
    page = render(ReportData("one", (sample.run("street_meal", 0),)))
    assert 'id="training"' in page
    assert "Training of round 0" in page
    assert "cross_entropy ends at" in page
    assert "<td>25</td><td>0.001 to 1e-05</td><td>41.2</td><td>7.5</td>" in page


def test_at_equal_cost_the_page_names_the_best_and_where_it_was_read():
    made = dataclasses.replace(sample.comparison(), over="clicks")
    text = " ".join(Page(render(made)).text)
    low, high = compare([run.summary for run in made.runs], "clicks").spans["test"]
    assert re.search(rf"has the highest mean test mIoU from {count(low)} to {count(high)} clicks: 0\.\d+;", text)
    assert f"at {count(high)} clicks" in text
    assert "at equal budget" not in text
    assert "highest" not in " ".join(Page(render(sample.comparison())).text)


def grown(recipe: str, *versions: int, first: int = 1) -> dict:
    """A run on a data set that grows, which had these versions round by round."""
    made = sample.summary(recipe, rounds=len(versions))
    made["dataset"] |= {"series": "camera", "version": first}
    for one, version in zip(made["rounds"], versions, strict=True):
        one["data_version"] = version
    return made


def test_the_version_of_the_data_set_stands_beside_each_round():
    whole = render(
        ReportData("grown", (RunReport(grown("street_meal", 1, 1, 2)), RunReport(grown("street_random", 1, 2, 2))))
    )
    text = re.sub(r"<[^>]+>", " ", whole)
    assert "the runs had different versions of the data set, round by round" in text
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", whole, re.DOTALL)]
    told = [row[2] for row in rows if row[1:2] == ["version"] and row[0].isdecimal()]
    assert told == ["1", "1", "2", "1", "2", "2"]
    alone = render(ReportData("alone", (RunReport(sample.summary()),)))
    assert "version 1" not in alone


def test_runs_that_began_with_different_versions_are_not_compared():
    with pytest.raises(
        BadInput, match=r"began with version 2 of data set camera, street_meal with version 1"
    ) as caught:
        compare([grown("street_meal", 1, 2), grown("street_random", 2, 2, first=2)])
    assert "--data dataset:camera@1+" in str(caught.value)
    compare([grown("street_meal", 1, 2), grown("street_random", 1, 1)])
