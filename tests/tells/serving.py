"""An OpenAI-compatible endpoint on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[Mapping[str, Any]], tuple[int, bytes]]


@dataclass
class Server:
    """An endpoint on this machine. `asked`: path, headers and body of every request."""

    url: str
    asked: list[tuple[str, Mapping[str, str], Mapping[str, Any]]] = field(default_factory=list)


@contextmanager
def served(reply: Reply, headers: Mapping[str, str] | None = None) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, dict(self.headers), body))
            status, data = reply(body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            server.asked.append((self.path, dict(self.headers), {}))
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that gave up is what is tested."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_address[1]}/v1")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def echo(body: Mapping[str, Any]) -> tuple[int, bytes]:
    return 200, json.dumps({"choices": [{"text": f" after {body['prompt'][:20]}"}]}).encode()


def other(body: Mapping[str, Any]) -> tuple[int, bytes]:
    return 200, json.dumps({"choices": [{"text": f" after all, {len(body['prompt'])}"}]}).encode()
