"""Who may enter, and over what: viewers, TLS, and predictions that cost no page anything."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest

import certificates
from dashboard.people import crowd
from dashboard.world import TOKEN, serving, small
from services.dashboard import server
from services.dashboard.prediction import Predictions
from services.dashboard.sign_in import Door
from tessera.errors import BadInput, TesseraError, Unavailable
from tessera.formats import checkpoints, images, predictors
from tessera.formats.manifests import ImageItem
from tessera.pb.common_pb2 import AxisValue, ModelRef
from tessera.runtime import tls
from tessera.runtime.access import Access, new_token
from tessera.runtime.objects import open_store
from tessera.runtime.service import Runtime
from tessera.runtime.settings import load


async def test_a_viewer_sees_runs_and_steers_nothing(tmp_path: Path) -> None:
    token, line = new_token("eve", ["viewer"])
    (tmp_path / "callers").write_text(line)
    world = await small(tmp_path / "store")
    await crowd(world, "dominant", 2)
    world.door = Door(TOKEN, Access(tmp_path / "callers"))
    async with serving(world), world.client() as viewer, world.client() as operator:
        await world.signed_in(operator)
        entered = await viewer.post("/sign-in", data={"token": token})
        assert entered.headers["location"] == "/"
        for path in ("/", "/runs/meal-1", "/runs/meal-2", "/runs/meal-1/rounds/0", "/compare", "/workers"):
            shown, whole = await viewer.get(path), await operator.get(path)
            assert shown.status_code == whole.status_code == 200
            assert 'href="/label"' not in shown.text
            for action in ("/cancel", "/resume", "/close-round", "/requeue"):
                assert f'{action}"' not in shown.text, path
        assert 'action="/runs/meal-2/cancel"' in (await operator.get("/runs/meal-2")).text
        for path in ("/label", "/annotators", "/api/rounds"):
            assert (await viewer.get(path)).status_code == 403, path
        page = (await viewer.get("/runs/meal-2")).text
        key = page.split('name="form-key" content="')[1].split('"')[0]
        for path in ("/runs/meal-2/cancel", "/runs/meal-2/close-round", "/workers/requeue", "/annotators", "/api/next"):
            sent = await viewer.post(path, data={"form_key": key, "job_key": "all"})
            assert sent.status_code == 403, path
        assert world.told == world.letters.requeued == []


async def test_pages_over_tls_tell_browsers_to_stay_there(tmp_path: Path) -> None:
    folder = certificates.make(tmp_path / "tls", "server=IP:127.0.0.1,DNS:localhost")
    settings = load(http_cert=folder / "server.crt", http_key=folder / "server.key")
    world = await small(tmp_path / "store")
    trust = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    async with serving(world, context=tls.http_context(settings)):
        assert world.base.startswith("https://")
        async with httpx.AsyncClient(base_url=world.base, verify=trust, timeout=60) as client:
            entered = await client.post("/sign-in", data={"token": TOKEN})
            assert "; Secure" in entered.headers["set-cookie"]
            page = await client.get("/")
            assert page.status_code == 200
            assert page.headers["strict-transport-security"].startswith("max-age=")
        async with httpx.AsyncClient(timeout=60) as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(world.base.replace("https", "http"))


async def test_a_link_for_one_run_answers_no_question_of_another(tmp_path: Path) -> None:
    world = await small(tmp_path / "store")
    people = await crowd(world, "dominant", 2)
    asked = people.questions[0].question_id
    calls = {
        "answer": {"question": asked, "id": "0" * 32, "seconds": 1, "clicks": 1, "classes": [1]},
        "skip": {"question": asked, "id": "0" * 32, "reason": "dark"},
        "renew": {"questions": [asked]},
    }
    async with serving(world):
        for run, status in (("meal-1", 403), ("meal-2", 200), ("", 200)):
            async with world.client() as client:
                key = await world.signed_in(client, world.door.invite("ada", run, 1))
                for path, body in calls.items():
                    sent = await client.post(f"/api/{path}", json=body, headers={"x-form-key": key})
                    assert sent.status_code == status, f"{run} {path}: {sent.text}"
            assert bool(people.answers) == (status == 200)


async def test_links_name_the_address_that_a_server_in_front_answers(tmp_path: Path) -> None:
    world = await small(tmp_path / "store")
    async with serving(world, behind_tls=True), world.client() as client:
        entered = await client.post("/sign-in", data={"token": TOKEN})
        # A browser sends the cookie over TLS alone, which ends at the server in front.
        seen = {"cookie": entered.headers["set-cookie"].partition(";")[0], "host": "labels.example.org"}
        page = (await client.get("/annotators", headers=seen)).text
        key = page.split('name="form-key" content="')[1].split('"')[0]
        fields = {"form_key": key, "name": "ada", "days": "1"}
        made = await client.post("/annotators", data=fields, headers=seen)
        assert 'value="https://labels.example.org/sign-in#' in made.text


@pytest.mark.parametrize("first", ["server.key", "server.crt"])
async def test_pages_use_a_renewed_certificate_without_a_restart(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_RENEW_SECONDS", 0.05)
    live = certificates.make(tmp_path / "live", "server=IP:127.0.0.1")
    fresh = certificates.make(tmp_path / "fresh", "server=IP:127.0.0.1")
    old, new = (ssl.create_default_context(cafile=str(folder / "ca.crt")) for folder in (live, fresh))
    settings = load(http_cert=live / "server.crt", http_key=live / "server.key")
    context = tls.http_context(settings)
    assert context is not None
    world = await small(tmp_path / "store")
    async with serving(world, context=context):
        renewing = asyncio.create_task(server._renew(settings, context))
        try:
            assert await _entered(world.base, old)
            assert not await _entered(world.base, new)
            # A pair that does not fit, for a moment: the last one is used on.
            shutil.copy(fresh / first, live / first)
            await asyncio.sleep(0.2)
            assert await _entered(world.base, old)
            for name in ("server.key", "server.crt"):
                shutil.copy(fresh / name, live / name)
            async with asyncio.timeout(60):
                while not await _entered(world.base, new):
                    await asyncio.sleep(0.05)
            assert not await _entered(world.base, old)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)


async def _entered(base: str, trust: ssl.SSLContext) -> bool:
    """Whether a new connection of somebody who trusts these authorities gets a page."""
    async with httpx.AsyncClient(base_url=base, verify=trust, timeout=60) as client:
        try:
            return (await client.get("/sign-in")).status_code == 200
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise
            return False


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "dashboard"])  # noqa: S104
def test_pages_in_the_clear_are_refused_to_other_machines(host: str) -> None:
    refused = (
        rf"TESSERA_HTTP_HOST {host}: other machines reach this port in the clear; set TESSERA_HTTP_CERT and "
        r"TESSERA_HTTP_KEY, .*TESSERA_HTTP_SECURE=true, .*TESSERA_HTTP_HOST=127\.0\.0\.1, or TESSERA_INSECURE=true"
    )
    # Before anything else of the process is touched.
    with pytest.raises(BadInput, match=refused):
        server.start(cast(Runtime, SimpleNamespace(settings=load(http_host=host))))


@pytest.mark.parametrize("given", [{"http_secure": True}, {"insecure": True}, {"http_cert": "a", "http_key": "b"}, {}])
def test_pages_are_served_where_the_settings_say_what_protects_them(tmp_path: Path, given: dict[str, Any]) -> None:
    paths = {name: tmp_path / value if isinstance(value, str) else value for name, value in given.items()}
    tls.check_page(load(http_host="0.0.0.0" if given else "127.0.0.1", **paths))  # noqa: S104


def test_a_certificate_and_its_key_must_fit(tmp_path: Path) -> None:
    assert tls.http_context(load()) is None
    with pytest.raises(BadInput, match="TESSERA_HTTP_CERT and TESSERA_HTTP_KEY: set both or neither"):
        load(http_cert=tmp_path / "a")
    with pytest.raises(BadInput, match=r"TESSERA_HTTP_CERT .*name a PEM certificate"):
        tls.http_context(load(http_cert=tmp_path / "a", http_key=tmp_path / "b"))


async def test_a_bad_prediction_costs_its_picture_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path.as_uri(), load(fsync=False))
    model = ModelRef()
    model.weights.CopyFrom(await store.put_content(b"no weights", "application/octet-stream"))
    image = await store.put_content(b"no image", "image/png")
    predictions = Predictions(load())
    try:
        with pytest.raises(BadInput, match="too large for a prediction"):
            await predictions.of(model, ImageItem("a", image, 10_000, 10_000, "", 0.0), store, 3)
        item = ImageItem("a", image, 8, 8, "", 0.0)
        with pytest.raises(TesseraError):
            await predictions.of(model, item, store, 3)
        monkeypatch.setattr("services.dashboard.prediction._MOST_WAITING", 0)
        with pytest.raises(Unavailable, match="too many"):
            await predictions.of(model, item, store, 3)
    finally:
        await predictions.close()


@pytest.mark.full
async def test_the_child_predicts_what_the_network_does(tmp_path: Path) -> None:
    from tessera import models
    from tessera.models.upsample import predict

    store = open_store(tmp_path.as_uri(), load(fsync=False))
    network = models.build("deeplabv3plus_resnet18", '{"width": 0.125}', 4, seed=1).eval()
    weights = await store.put_content(checkpoints.dump_model(network), "application/octet-stream")
    architecture = AxisValue(name="deeplabv3plus_resnet18", parameters='{"width": 0.125}')
    model = ModelRef(architecture=architecture, classes=4, weights=weights)
    rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    image = await store.put_content(images.encode_png(rgb), "image/png")
    predictions = Predictions(load())
    try:
        found = await predictions.of(model, ImageItem("a", image, 96, 64, "", 0.0), store, 3)
        again = await predictions.of(model, ImageItem("a", image, 96, 64, "", 0.0), store, 3)
    finally:
        await predictions.close()
    assert again is found
    seen = predictors.predictor(model, lambda _: checkpoints.dump_model(network)).logits(rgb)[:3]
    assert np.array_equal(found, predict(seen, (64, 96)))
