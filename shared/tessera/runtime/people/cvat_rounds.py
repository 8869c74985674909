"""A round of questions on a CVAT server: put there, and fetched from jobs that are finished.

Everything is found again by name, so a call that was cut off is simply made again: a run has one project, a round one
task in it. A job gets its regions in one request, and only while nobody has begun it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tessera.adapters.cvat.questions import CvatSource, image_ids, image_name, images_of, replies
from tessera.adapters.cvat.scheme import scheme
from tessera.adapters.cvat.shapes import CvatImage
from tessera.adapters.replies import Rejection, ToolReply
from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput
from tessera.runtime.people.cvat import CvatJob, CvatServer


@dataclass(frozen=True)
class CvatPlace:
    """Where a round is on a server."""

    project: int
    task: int
    url: str
    jobs: int
    drawn: int
    """Jobs that got their regions now; the others had them."""
    questions: frozenset[str]
    """Ids of the questions whose regions are there. A round is put once: questions that come later find no place."""


@dataclass
class CvatHarvest:
    """What the jobs of a round hold."""

    replies: list[ToolReply] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    jobs: int = 0
    finished: int = 0


def project_name(round_: ToolRound) -> str:
    """Return the name of a run's project."""
    return f"Tessera {round_.run_id} {round_.query}"


def task_name(round_: ToolRound) -> str:
    """Return the name of a round's task."""
    return f"round {round_.round} {round_.key[:12]}"


def put(
    server: CvatServer,
    round_: ToolRound,
    tasks: Sequence[ToolTask],
    files: Callable[[Sequence[ToolTask]], Sequence[Path]],
    *,
    images_per_job: int = 10,
    cloud_storage: int = 0,
) -> CvatPlace:
    """Make the round's project, task and jobs with regions and predictions drawn, or what of it is missing.

    ``files`` returns a file for each of the tasks that it is given, which are one per image; their names are
    `image_name`. It is called where images are uploaded: not with ``cloud_storage``, the number of a storage of the
    server that has them under their keys in our store.
    """
    names = scheme(round_)
    project = server.project(project_name(round_))
    if project is None:
        project = server.make_project(project_name(round_), names.labels)
    ids = server.ids(project)
    ids.check(names.labels, f"CVAT {server.url}: project {project}")
    images = {image_id: image for image, image_id in _by_id(images_of(round_, tasks), tasks)}
    first = {one.image_id: one for one in sorted(tasks, key=lambda one: -one.rank)}
    task = server.task(project, task_name(round_))
    if task is None:
        task = server.make_task(project, task_name(round_), images_per_job)
    if server.is_empty(task):
        shown = [first[image_id] for image_id in images]
        if cloud_storage:
            server.refer(task, [_key(one) for one in shown], cloud_storage)
        else:
            server.upload(task, files(shown))
    known, frames = image_ids(tasks), server.frames(task)
    jobs, drawn, there = server.jobs(task), 0, set[str]()
    for job in jobs:
        shapes = server.shapes(job, ids)
        if job.state == "new" and not shapes:
            wanted = {at: _image_id(frames[at].name, known) for at in range(job.first, min(job.last + 1, len(frames)))}
            shapes = {at: list(images[one].shapes) for at, one in wanted.items() if one in images}
            server.draw(job, shapes, ids)
            drawn += 1
        there |= {one.attributes.get(names.question, "") for mine in shapes.values() for one in mine}
    asked = {one.question_id for one in tasks}
    return CvatPlace(project, task, f"{server.url}/tasks/{task}", len(jobs), drawn, frozenset(there & asked))


def _by_id(images: Sequence[CvatImage], tasks: Sequence[ToolTask]) -> list[tuple[CvatImage, str]]:
    ids = {image_name(task): task.image_id for task in tasks}
    return [(image, ids[image.name]) for image in images]


def _image_id(name: str, known: dict[str, str]) -> str:
    return known.get(name) or known.get(Path(name).name) or ""


def _key(task: ToolTask) -> str:
    if not Path(task.image.key).suffix:
        raise BadInput(
            f"image {task.image_id}: its key {task.image.key} has no ending, which CVAT needs; upload images instead"
        )
    return task.image.key


def fetch(
    server: CvatServer,
    round_: ToolRound,
    tasks: Sequence[ToolTask],
    annotator: str,
    expected: Container[str] | None = None,
) -> CvatHarvest:
    """Return the answers in the finished jobs of a round, and what is none, with the reason.

    ``tasks`` and ``expected`` as in `tessera.adapters.cvat.questions.replies`. ``annotator``: who answered in jobs that
    nobody is assigned to. BadInput where the round was never put there.
    """
    harvest = CvatHarvest()
    project = server.project(project_name(round_))
    task = None if project is None else server.task(project, task_name(round_))
    if project is None or task is None:
        missing = f"project {project_name(round_)!a}" if project is None else f"task {task_name(round_)!a}"
        raise BadInput(f"CVAT {server.url}: has no {missing}; put the round there first")
    ids, frames = server.ids(project), server.frames(task)
    for job in server.jobs(task):
        harvest.jobs += 1
        if job.state != "completed":
            harvest.rejections.append(Rejection(job.url, f"is {job.state}; its answers count when it is completed"))
            continue
        harvest.finished += 1
        drawn = server.shapes(job, ids)
        images = []
        for at in range(job.first, min(job.last + 1, len(frames))):
            frame = frames[at]
            if frame.deleted:
                harvest.rejections.append(Rejection(job.url, f"image {frame.name!a} is deleted there"))
                continue
            images.append(CvatImage(frame.name, frame.width, frame.height, tuple(drawn.get(at, ()))))
        found, wrong = replies(round_, tasks, images, _source(job, annotator), expected)
        harvest.replies += found
        harvest.rejections += wrong
    return harvest


def _source(job: CvatJob, annotator: str) -> CvatSource:
    return CvatSource(job.url, job.assignee or annotator, job.updated, finished=True)
