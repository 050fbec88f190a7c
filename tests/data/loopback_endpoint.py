"""A real HTTP server on loopback that speaks the chat completions API, well or badly, as a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the server sends. drop_after: close the connection after so many bytes of the body (Content-Length lies).

    drip_seconds: pause before every byte of the body. hold: sent only when this event is set.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    drip_seconds: float = 0.0
    hold: threading.Event | None = None


Behaviour = Callable[[dict[str, Any], int], Reply]  # (request body, how many requests came before) → reply


def completion(text: str, tokens_in: int = 10, tokens_out: int = 5, **more: Any) -> Reply:
    usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "served-1", "choices": [choice]}
    return Reply(body=json.dumps({**body, "usage": usage, **more}).encode())


def error(status: int, message: str, **headers: str) -> Reply:
    return Reply(status, json.dumps({"error": {"message": message, "type": "t", "code": "c"}}).encode(), headers)


def echo(body: dict[str, Any], before: int) -> Reply:
    return completion(f"echo {body['messages'][-1]['content']}")


class Endpoint:
    """The server's side of what happened: all request bodies, their Authorization headers, the most at one time."""

    def __init__(self, behaviour: Behaviour):
        self.behaviour = behaviour
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.base_url = ""


@contextmanager
def endpoint(behaviour: Behaviour = echo) -> Iterator[Endpoint]:
    state = Endpoint(behaviour)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    state.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def _handler(state: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                before = len(state.bodies)
                state.bodies.append(body)
                state.keys.append(self.headers.get("Authorization", ""))
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            try:
                self._send(state.behaviour(body, before))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with state.lock:
                    state.at_once -= 1

        def _send(self, reply: Reply) -> None:
            if reply.hold is not None:
                reply.hold.wait(30)
            self.send_response(reply.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            for piece in self._pieces(reply):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(reply.drip_seconds)
            if reply.drop_after is not None:
                self.close_connection = True
                self.connection.shutdown(2)

        def _pieces(self, reply: Reply) -> list[bytes]:
            body = reply.body if reply.drop_after is None else reply.body[: reply.drop_after]
            return [body[i : i + 1] for i in range(len(body))] if reply.drip_seconds else [body]

    return Handler
