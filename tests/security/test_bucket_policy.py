"""The bucket policy (S15): what each service reads and writes, decided by an evaluator and enforced by a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guide import guided
from integration.loop import tessera
from s3_policy import S3WithPolicy, allowed
from tessera.errors import BadInput, TesseraError
from tessera.runtime.bucket_policy import ADMIN, CLIENT, document, table
from tessera.runtime.objects import READABLE_LABELS, may_read, open_store
from tessera.runtime.settings import load

STORE, BUCKET = "s3://tessera/some/prefix", "arn:aws:s3:::tessera"
PRINCIPAL = "arn:aws:iam::123456789012:user/tessera-{service}"
SERVICES = {path.parent.name for path in (Path(__file__).parents[2] / "services").glob("*/__main__.py")}
HASH = "ab" * 32
LABELS = {
    split: [f"datasets/street-1/labels/{split}/a.png", f"datasets/street-1/labels/{split}.json"]
    for split in ("train", "val", "test", "extra", "images")
}
NAMES = ("coordinator", "datasets/street-1/labels/train.json")
RECORD = f"jobs/Evaluate/{HASH}.json"
OTHERS = ["datasets/street-1/manifest.json", f"cas/sha256/{HASH[:2]}/{HASH[2:]}", RECORD, "runs/run-1/spec.json"]


@pytest.fixture(scope="module")
def policy() -> dict[str, Any]:
    return document(STORE, PRINCIPAL)


def may(policy: dict[str, Any], service: str, action: str, key: str) -> bool:
    return allowed(policy, PRINCIPAL.format(service=service), f"s3:{action}", f"{BUCKET}/some/prefix/{key}")


def test_every_service_has_rights() -> None:
    assert set(table()) == SERVICES | {CLIENT, ADMIN}


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_labels_are_read_as_the_wrapper_inside_the_process_says(policy: dict[str, Any], service: str) -> None:
    for split, keys in LABELS.items():
        for key in keys:
            assert may(policy, service, "GetObject", key) is may_read(service, key), (service, key)
            assert may_read(service, key) is (split in READABLE_LABELS[service] or (service, key) == NAMES)
            assert not may(policy, service, "PutObject", key)
            assert not may(policy, service, "DeleteObject", key)


def test_test_labels_are_denied_whatever_else_is_allowed(policy: dict[str, Any]) -> None:
    """A later statement, or a user's own policy, that allows everything must not open them."""
    for service in SERVICES - {"evaluator"}:
        everything = {
            "Sid": "Mistake",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": ["s3:*"],
            "Resource": ["*"],
        }
        wider = {**policy, "Statement": [*policy["Statement"], everything]}
        for key in (*LABELS["test"], "datasets/x/labels/test-2/a.png", "datasets/x/labels/test/sub/a.png"):
            assert not may(wider, service, "GetObject", key), (service, key)
        assert may(wider, service, "GetObject", "datasets/street-1/images/test/a.png")


def test_services_write_their_own_results_and_nothing_else(policy: dict[str, Any]) -> None:
    writers = {service for service in SERVICES if may(policy, service, "PutObject", RECORD)}
    assert writers == {"evaluator", "coordinator"}
    for service in SERVICES:
        assert may(policy, service, "PutObject", OTHERS[1]) is (service != "dashboard")
        assert not may(policy, service, "PutObject", "datasets/street-1/manifest.json")
        assert not may(policy, service, "PutObject", "datasets/street-1/images/train/a.png")
        assert may(policy, service, "PutObject", "runs/run-1/spec.json") is (service == "coordinator")
        assert may(policy, service, "PutObject", "answers/0f/3/an-answer.json") is (service == "coordinator")
        assert may(policy, service, "PutObject", f"checkpoints/{HASH}/a") is (service == "trainer")
        for key in (*OTHERS, "datasets/street-1/images/train/a.png"):
            assert not may(policy, service, "DeleteObject", key)
    for key in (*OTHERS, *LABELS["test"]):
        assert all(may(policy, ADMIN, action, key) for action in ("GetObject", "PutObject", "DeleteObject"))
    assert not may(policy, "stranger", "GetObject", OTHERS[0])


def test_nothing_outside_the_prefix_and_the_bucket(policy: dict[str, Any]) -> None:
    for service in table():
        who = PRINCIPAL.format(service=service)
        for resource in (f"{BUCKET}/other/cas/sha256/ab/cd", f"{BUCKET}-2/some/prefix/cas/sha256/ab/cd", "*"):
            assert not allowed(policy, who, "s3:GetObject", resource)
        assert allowed(policy, who, "s3:ListBucket", BUCKET)
        for action in ("PutBucketPolicy", "DeleteBucket", "PutBucketAcl", "GetObjectVersion", "PutObjectAcl"):
            assert not allowed(policy, who, f"s3:{action}", BUCKET)
            assert not allowed(policy, who, f"s3:{action}", f"{BUCKET}/some/prefix/{OTHERS[0]}")


def test_the_evaluator_decides_as_s3_does() -> None:
    def one(effect: str, action: str, resource: str) -> dict[str, Any]:
        return {"Sid": "x", "Effect": effect, "Principal": {"AWS": "me"}, "Action": [action], "Resource": [resource]}

    both = {"Version": "x", "Statement": [one("Allow", "s3:Get*", "a/*"), one("Deny", "s3:*", "a/?/secret*")]}
    assert allowed(both, "me", "s3:GetObject", "a/b/c/d")
    assert not allowed(both, "me", "s3:GetObject", "a/b/secret/d")
    assert allowed(both, "me", "s3:GetObject", "a/bc/secret/d")
    assert not allowed(both, "me", "s3:PutObject", "a/b")
    assert not allowed(both, "you", "s3:GetObject", "a/b/c/d")
    assert not allowed(both, "me", "s3:GetObject", "b/a/c")


async def test_a_server_that_obeys_it_refuses_a_service_that_was_taken_over(tmp_path: Path) -> None:
    """Without the wrapper: plain S3 with the service's own key."""
    principal, url = "arn:aws:iam:::user/{service}", "s3://tessera/runs"
    with S3WithPolicy(tmp_path / "s3", list(table()), document(url, principal), principal) as server:

        def store(user: str) -> Any:
            given = {name.removeprefix("TESSERA_").lower(): value for name, value in server.settings(user).items()}
            return open_store(url, load(**given, cache_dir=tmp_path / user, s3_attempts=1))

        client = store(CLIENT)
        label = await client.put(LABELS["test"][0], b"truth", "image/png")
        manifest = await client.put(OTHERS[0], b"{}", "application/json")
        for user in table():
            opened = store(user)
            assert await opened.get(manifest) == b"{}"
            if user in ("evaluator", CLIENT, ADMIN):
                assert await opened.get(label) == b"truth"
            else:
                for read in (opened.get(label), opened.exists(label.key), opened.read_key(label.key, 10)):
                    with pytest.raises(BadInput, match="refused the credentials"):
                        await read
            # What is not there is not a refusal.
            assert await opened.exists(f"cas/sha256/00/{'0' * 62}") is None
            if user not in (CLIENT, ADMIN):
                with pytest.raises(TesseraError, match="refused the credentials"):
                    await opened.put(LABELS["train"][0], b"forged", "image/png")
            if user != "dashboard":
                content = await opened.put_content(user.encode(), "text/plain")
                assert await opened.get(content) == user.encode()
        # An unsigned question after each refusal: what time the server has.
        assert {who for who, _, _ in server.denied if who} == {principal.format(service=one) for one in SERVICES}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--store", "file:///tmp/x"], "a bucket policy is for s3://bucket/prefix"),
        (["--store", "s3://b/p", "--principal", "me"], "write {service} where"),
    ],
)
def test_what_cannot_have_a_policy_is_named(arguments: list[str], named: str) -> None:
    done = tessera("bucket-policy", *arguments)
    assert done.returncode == 2
    assert named in done.stderr


def test_the_command_of_the_guide_prints_the_policy() -> None:
    done = tessera(*guided("tessera bucket-policy")[1:])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == document("s3://tessera/runs", PRINCIPAL)
    whole = document("s3://tessera", PRINCIPAL)
    assert f"{BUCKET}/cas/sha256/*" in whole["Statement"][1]["Resource"]
