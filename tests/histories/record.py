"""Record the histories that are missing; existing files are left as they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from google.protobuf import json_format

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))


def described(action: Any) -> Any:
    """A decision as JSON: its name and facts; for a step, the request of every job."""
    from unit.loop.simulator import key_of

    made: dict[str, Any] = {"action": type(action).__name__}
    if made["action"] == "StartStep":
        made |= {"round": action.round, "step": action.step}
        made["jobs"] = [[job.method, key_of(job.method, job.request)] for job in action.jobs]
    elif made["action"] == "Finish":
        made["reason"] = action.reason
    elif made["action"] == "Fail":
        made |= {"message": action.message, "exit_code": action.exit_code}
    return made


def decisions(events: list[Any]) -> list[list[Any]]:
    """[number of events read, decision] wherever there is something to do."""
    from tessera.loop import plan
    from tessera.loop.reducer import RunState, apply

    state, made = RunState(), []
    for index, event in enumerate(events, 1):
        state = apply(state, event)
        action = plan.next_action(state)
        if not isinstance(action, plan.Wait):
            made.append([index, described(action)])
    return made


def logs() -> dict[str, list[Any]]:
    """Logs worth keeping, by name."""
    from tessera.pb.runs_pb2 import RunEvent
    from unit.loop.simulator import job_failed, load, spec_of, walk

    def log(name: str, **changes: Any) -> list[Any]:
        sizes = {key: changes.pop(key) for key in ("train", "val", "test") if key in changes}
        return walk(spec_of(load(name, **changes), **{"train": 20, "val": 3, "test": 3, **sizes})).events

    found = {
        name: log(name, budget__rounds=2)
        for name in (
            "street_random", "street_entropy", "street_meal", "street_meal_ft", "meal_camvid_meal_frozen",
            "meal_camvid_meal_ft_finetuned",
        )
    }  # fmt: skip
    found["street_supervised"] = log("street_supervised")
    found["best_val"] = log("meal_camvid_entropy_finetuned", budget__rounds=1, checkpoint="best_val")
    found["budget_larger_than_the_pool"] = log("street_random", budget__rounds=99)
    found["no_shortlist"] = log("street_meal", budget__rounds=1, selection__shortlist=[])
    found["paid_by_the_click"] = log(
        "street_random",
        budget__rounds=2,
        budget__unit="clicks",
        budget__initial=30,
        budget__per_round=20,
        query={"name": "multi_class"},
        training__without_pixels="skip",
    )
    found["percent"] = log("street_random", budget__rounds=2, budget__unit="percent", budget__per_round=2.5)
    found["random_start"] = log("street_meal", budget__rounds=1, model__pretrained="random")
    apart = [{"name": "min_seconds", "seconds": 2}]
    plateau = {"plateau": {"rounds": 1}}
    found["apart_until_a_plateau"] = log("street_entropy", selection__constraints=apart, stop=plateau)
    found["goal_reached"] = log("street_entropy", stop={"miou": 0.6})
    center = {"selection__stages": [{"name": "k_center"}], "selection__embedding__fit_on": "shortlist"}
    found["labelled_regions_described"] = log("street_meal", budget__rounds=2, **center)
    # A job fails, the run is resumed, is cancelled, is resumed, and its results come twice.
    events = log("street_random", budget__rounds=1)
    failed, resumed, cancelled = RunEvent(), RunEvent(), RunEvent()
    failed.failed.message, failed.failed.exit_code = "Partition failed (out_of_memory): no room", 3
    resumed.resumed.SetInParent()
    cancelled.cancelled.reason = "cancelled"
    failure = job_failed(events[1].step_started.job_keys[1], "Partition")
    trouble = [failure, failed, resumed, cancelled, resumed, events[2]]
    found["failed_resumed_cancelled"] = [*events[:3], *trouble, *events[3:]]
    return found


def main() -> None:
    """Write what is missing."""
    from tessera.loop.reducer import VERSION

    for name, events in logs().items():
        path = HERE / f"v{VERSION}_{name}.json"
        if not path.exists():
            content = {
                "reducer_version": VERSION,
                "events": [json_format.MessageToDict(event) for event in events],
                "decisions": decisions(events),
            }
            path.write_text(json.dumps(content, separators=(",", ":"), sort_keys=True).replace("},{", "},\n{") + "\n")


if __name__ == "__main__":
    main()
