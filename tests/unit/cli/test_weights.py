"""Weights are looked for in the documented order; none is an error, never a random start."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tessera.cli import weights
from tessera.errors import BadInput, Unavailable

ARCHITECTURE = "deeplabv3plus_mobilenetv2"
NAME = "mobilenet_v2_imagenet.safetensors"
CONTENT = b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    for name in ("TESSERA_WEIGHTS_DIR", "TESSERA_WEIGHTS_URL", "TESSERA_WEIGHTS_SHA256"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/w":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_random_has_to_be_asked_for():
    assert weights.find("random", ARCHITECTURE) is None
    with pytest.raises(BadInput, match="TESSERA_WEIGHTS_DIR"):
        weights.find("imagenet", ARCHITECTURE)


def test_an_explicit_path_comes_first(tmp_path):
    with pytest.raises(BadInput, match=r"gone\.safetensors is not a file"):
        weights.find(str(tmp_path / "gone.safetensors"), ARCHITECTURE)
    (tmp_path / "w.safetensors").write_bytes(CONTENT)
    assert weights.find(str(tmp_path / "w.safetensors"), ARCHITECTURE) == tmp_path / "w.safetensors"


def test_the_folder_comes_before_the_download(tmp_path, monkeypatch):
    (tmp_path / NAME).write_bytes(CONTENT)
    monkeypatch.setenv("TESSERA_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("TESSERA_WEIGHTS_URL", "http://127.0.0.1:9/never")
    assert weights.find("imagenet", ARCHITECTURE) == tmp_path / NAME


def test_download_is_checked_and_kept(server, monkeypatch):
    monkeypatch.setenv("TESSERA_WEIGHTS_URL", f"{server}/w")
    monkeypatch.setenv("TESSERA_WEIGHTS_SHA256", hashlib.sha256(CONTENT).hexdigest())
    path = weights.find("imagenet", ARCHITECTURE)
    assert path.read_bytes() == CONTENT
    monkeypatch.delenv("TESSERA_WEIGHTS_URL")
    assert weights.find("imagenet", ARCHITECTURE) == path


def test_bytes_of_another_hash_are_not_kept(server, monkeypatch):
    monkeypatch.setenv("TESSERA_WEIGHTS_URL", f"{server}/w")
    monkeypatch.setenv("TESSERA_WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(BadInput, match="nothing was kept"):
        weights.find("imagenet", ARCHITECTURE)
    assert not (weights.cache_folder() / NAME).exists()


def test_a_download_needs_its_hash_and_a_web_address(monkeypatch):
    monkeypatch.setenv("TESSERA_WEIGHTS_URL", "http://127.0.0.1:9/w")
    with pytest.raises(BadInput, match="TESSERA_WEIGHTS_SHA256"):
        weights.find("imagenet", ARCHITECTURE)
    monkeypatch.setenv("TESSERA_WEIGHTS_SHA256", "0" * 64)
    monkeypatch.setenv("TESSERA_WEIGHTS_URL", "file:///etc/passwd")
    with pytest.raises(BadInput, match="not an http"):
        weights.find("imagenet", ARCHITECTURE)


def test_a_server_that_is_not_there_or_lacks_the_file(server, monkeypatch):
    monkeypatch.setenv("TESSERA_WEIGHTS_SHA256", "0" * 64)
    for url in ("http://127.0.0.1:9/w", f"{server}/missing"):
        monkeypatch.setenv("TESSERA_WEIGHTS_URL", url)
        with pytest.raises(Unavailable, match="cannot download"):
            weights.find("imagenet", ARCHITECTURE)
