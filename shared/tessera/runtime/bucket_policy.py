"""Which objects each service may read and write, as one table, and the bucket policy made from it.

The store's own wrapper (`runtime.objects.restrict`) refuses labels inside a process. A process that was taken over does
not ask it: then the server has to refuse, by the keys with which it was addressed. So each service gets an S3 user of
its own, and the bucket this policy. Test labels have always had a prefix of their own, ``datasets/<id>/labels/test/``,
and a manifest, ``labels/test.json``. The policy denies both to all but the evaluator, whoever submits runs, and the
administrator.

Every user may list the bucket: without that right a server answers 403 instead of 404 for an object that is not there,
and a service could not tell an absent result from a refusal. Names and sizes of objects are therefore no secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from tessera.errors import BadInput
from tessera.runtime import catalogue
from tessera.runtime.objects import READABLE_LABELS, READABLE_NAMES

CLIENT: Final = "client"
"""Whoever submits runs: brings data sets and weights, and reads results."""
ADMIN: Final = "admin"
"""An operator's commands: gc, audit, doctor."""
EVERY_SPLIT: Final = ("train", "val", "test")
_IMAGES: Final = frozenset({"partitioner", "scorer", "embedder", "trainer", "evaluator"})
_CONTENT: Final = "cas/sha256/*"
_MANIFEST: Final = "datasets/*/manifest.json"
_PICTURES: Final = "datasets/*/images/*"
_VERSIONS: Final = "datasets/*/versions/*"
_GET: Final = ("s3:GetObject",)
_PUT: Final = ("s3:PutObject", "s3:AbortMultipartUpload")
_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9:/_+=,.@-]*\{service\}[A-Za-z0-9:/_+=,.@-]*")


@dataclass(frozen=True)
class Rights:
    """Patterns of keys below the store's prefix; ``*`` stands for any characters, slashes too. ``never`` beats all."""

    read: tuple[str, ...]
    write: tuple[str, ...]
    delete: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


def table() -> Mapping[str, Rights]:
    """Return the rights of every user: each service, the client, and the administrator."""
    methods: dict[str, list[str]] = {}
    for name, (service, _) in catalogue.methods().items():
        methods.setdefault(service, []).append(name)
    workers = {service: _worker(service, sorted(mine)) for service, mine in sorted(methods.items())}
    # Answers of people are the coordinator's, and so are the classes that they choose from.
    runs = ("runs/*", "jobs/*", "answers/*", _CONTENT)
    return {
        "coordinator": Rights(
            (*runs, _MANIFEST, _VERSIONS, *_names("coordinator"), "housekeeping/*"), runs, never=_denied("coordinator")
        ),
        "dashboard": Rights((_CONTENT, _MANIFEST, _PICTURES), (), never=_denied("dashboard")),
        **workers,
        # Of two clients that add one version at the same moment, either takes its entry back.
        CLIENT: Rights(("datasets/*", _CONTENT, "runs/*"), ("datasets/*", _CONTENT), (_VERSIONS,)),
        ADMIN: Rights(("*",), ("*",), ("*",)),
    }


def _worker(service: str, methods: list[str]) -> Rights:
    records = [f"jobs/{method}/*" for method in methods]
    read = [_CONTENT, _MANIFEST, *records]
    if service in _IMAGES:
        read.append(_PICTURES)
    for split in sorted(READABLE_LABELS[service]):
        read += [f"datasets/*/labels/{split}/*", f"datasets/*/labels/{split}.json"]
    write, delete = [_CONTENT, *records], []
    if any(catalogue.methods()[method][1].checkpoints for method in methods):
        read.append("checkpoints/*")
        write.append("checkpoints/*")
        delete.append("checkpoints/*")
    return Rights(tuple(read), tuple(write), tuple(delete), _denied(service))


def _names(service: str) -> tuple[str, ...]:
    """Return the label manifests of splits of which a service may know which images have labels."""
    return tuple(f"datasets/*/labels/{split}.json" for split in sorted(READABLE_NAMES.get(service, ())))


def _denied(service: str) -> tuple[str, ...]:
    """Return the labels that a service must never read, whatever other policies say."""
    granted, named = READABLE_LABELS[service], READABLE_NAMES.get(service, frozenset())
    if not granted and not named:
        return ("datasets/*/labels/*",)
    # Also the labels of a split whose name begins like one of these; and of one that is called "images", because the
    # pattern of images would fit them, too.
    every = (split for split in (*EVERY_SPLIT, "images") if split not in granted)
    return tuple(f"datasets/*/labels/{split}{'/*' if split in named else '*'}" for split in every)


def document(store: str, principal: str) -> dict[str, Any]:
    """Return the bucket policy of the store at ``s3://bucket/prefix``.

    ``principal`` names a service's user at this server, with ``{service}`` in the service's place, for example
    ``arn:aws:iam::123456789012:user/tessera-{service}``. BadInput for an address or a name that cannot be one.
    """
    parts = urlsplit(store)
    if parts.scheme != "s3" or not parts.netloc:
        raise BadInput(f"store {store[:200]!a}: a bucket policy is for s3://bucket/prefix; a folder has none")
    if not _PRINCIPAL.fullmatch(principal):
        raise BadInput(f"--principal {principal[:200]!a}: write {{service}} where the service's name comes")
    bucket = f"arn:aws:s3:::{parts.netloc}"
    prefix = f"{parts.path.strip('/')}/".lstrip("/")
    statements: list[dict[str, Any]] = []
    for service, rights in table().items():
        who = {"AWS": principal.format(service=service)}
        # What is denied first: whoever reads the policy sees it at once.
        for name, effect, actions, patterns in (
            ("MustNotRead", "Deny", _GET, rights.never),
            ("Reads", "Allow", _GET, rights.read),
            ("Writes", "Allow", _PUT, rights.write),
            ("Removes", "Allow", ("s3:DeleteObject",), rights.delete),
        ):
            if patterns:
                statements.append(
                    {
                        "Sid": f"{service.capitalize()}{name}",
                        "Effect": effect,
                        "Principal": who,
                        "Action": list(actions),
                        "Resource": [f"{bucket}/{prefix}{pattern}" for pattern in patterns],
                    }
                )
        statements.append(
            {
                "Sid": f"{service.capitalize()}Lists",
                "Effect": "Allow",
                "Principal": who,
                "Action": ["s3:ListBucket"],
                "Resource": [bucket],
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}


def text(store: str, principal: str) -> str:
    """Return the policy as JSON, as S3 servers take it."""
    return json.dumps(document(store, principal), indent=1)
