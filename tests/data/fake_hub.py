"""As much of the Hugging Face hub's HTTP API as `datasets` needs to load a small set, on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40
Repositories = dict[str, dict[str, bytes]]  # {hub id: {path: bytes}}


def card(configs: dict[str, dict[str, str]]) -> bytes:
    """A README whose header maps {config: {split: path}}, which is how a set without a script says what it holds."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, path in splits.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    return "\n".join([*lines, "---", ""]).encode()


def json_lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@contextmanager
def hub(repositories: Repositories) -> Iterator[str]:
    """The address to set as HF_ENDPOINT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(repositories))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(repositories: Repositories) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/":
                return self._send(b"{}")
            for hub_id, files in repositories.items():
                if path == f"/api/datasets/{hub_id}" or path.startswith(f"/api/datasets/{hub_id}/revision/"):
                    siblings = [{"rfilename": name} for name in files]
                    return self._send(json.dumps({"id": hub_id, "sha": COMMIT, "siblings": siblings}).encode())
                if path.startswith(f"/api/datasets/{hub_id}/tree/"):
                    folder = path.partition("/tree/")[2].partition("/")[2]
                    return self._send(
                        json.dumps([_entry(n, b) for n, b in files.items() if n.startswith(folder)]).encode()
                    )
                if path.startswith(f"/datasets/{hub_id}/resolve/"):
                    return self._file(files.get(path.partition("/resolve/")[2].partition("/")[2]))
            return self._send(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

        def _file(self, body: bytes | None) -> None:
            if body is None:
                return self._send(b"{}", 404, {"X-Error-Code": "EntryNotFound"})
            return self._send(body, 200, {"ETag": f'"{_sha1(body)}"', "X-Repo-Commit": COMMIT})

        def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def _sha1(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


def _entry(name: str, body: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(body), "oid": _sha1(body)}
