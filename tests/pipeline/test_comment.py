"""The comment on a pull request, against a server that speaks the part of GitHub's API that it needs."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.runner import ROOT, obeyed, run_action

REPOSITORY = "acme/models"


class Forge(ThreadingHTTPServer):
    """Comments of pull request 7, in pages, for who has the token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.comments: list[dict[str, Any]] = []
        self.seen: list[str] = []
        self.redirect = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Forge

    def log_message(self, *_: object) -> None:
        pass

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        given = json.loads(self.rfile.read(length)) if length else {}
        self.server.seen.append(f"{self.command} {self.path}")
        status, answer = self._answer(given)
        data = json.dumps(answer).encode()
        self.send_response(status)
        if status == 307:
            self.send_header("Location", self.server.redirect)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = _do

    def _answer(self, given: dict[str, Any]) -> tuple[int, Any]:
        if self.server.redirect:
            return 307, {}
        if self.headers["Authorization"] != "Bearer secret":
            return 401, {"message": "Bad credentials"}
        comments, path = self.server.comments, self.path
        if listed := re.fullmatch(rf"/repos/{REPOSITORY}/issues/7/comments\?per_page=(\d+)&page=(\d+)", path):
            size, page = int(listed[1]), int(listed[2])
            return 200, comments[size * (page - 1) : size * page]
        if path == f"/repos/{REPOSITORY}/issues/7/comments":
            comments.append({"id": len(comments) + 1, **given})
            return 201, comments[-1]
        if changed := re.fullmatch(rf"/repos/{REPOSITORY}/issues/comments/(\d+)", path):
            comments[int(changed[1]) - 1].update(given)
            return 200, comments[int(changed[1]) - 1]
        return 404, {}


@pytest.fixture
def forge() -> Iterator[Forge]:
    server = Forge()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def env(forge: Forge, tmp_path: Path) -> dict[str, str]:
    event = {"pull_request": {"number": 7, "head": {"repo": {"full_name": REPOSITORY}}}}
    (tmp_path / "event.json").write_text(json.dumps(event))
    (tmp_path / "summary.md").write_text("## Fail: impostor\n")
    return {
        "GITHUB_API_URL": forge.address,
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_WORKFLOW": "models",
        "GITHUB_JOB": "gate",
        "PG_GITHUB_TOKEN": "secret",
        "PG_PATHS": "models/one",
        "PG_SUMMARY_PATH": str(tmp_path / "summary.md"),
    }


def load() -> Any:
    spec = spec_from_file_location("comment", ROOT / "templates" / "action" / "comment.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_one_comment_per_gate_however_often_it_runs(forge: Forge, env: dict[str, str]) -> None:
    module = load()
    forge.comments += [{"id": n + 1, "body": f"comment {n} <!-- provenance-gate x -->"} for n in range(130)]
    module.main(env)
    Path(env["PG_SUMMARY_PATH"]).write_text("## Pass\n")
    module.main(env)
    assert len(forge.comments) == 131
    assert forge.comments[-1]["body"].endswith("## Pass\n")
    module.main({**env, "PG_PATHS": "models/two"})
    assert len(forge.comments) == 132


def test_no_comment_without_token_or_summary_or_pull_request_of_this_repository(
    forge: Forge, env: dict[str, str]
) -> None:
    module = load()
    for name in ("PG_GITHUB_TOKEN", "PG_SUMMARY_PATH", "GITHUB_EVENT_PATH"):
        module.main({**env, name: ""})
    module.main({**env, "GITHUB_REPOSITORY": "acme/upstream"})
    Path(env["GITHUB_EVENT_PATH"]).write_text('{"pull_request": {"number": 7, "head": {"repo": null}}}')
    module.main(env)
    assert forge.seen == []


def test_what_goes_wrong_is_a_warning(forge: Forge, env: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    module = load()
    module.main({**env, "PG_GITHUB_TOKEN": "wrong"})
    module.main({**env, "GITHUB_API_URL": "http://api.example"})
    module.main({**env, "PG_SUMMARY_PATH": "gone.md"})
    found = obeyed(capsys.readouterr().out)
    assert [c.name for c in found] == ["warning"] * 3
    assert "401" in found[0].message and "https only" in found[1].message


def test_the_token_does_not_follow_a_redirect(forge: Forge, env: dict[str, str]) -> None:
    other = Forge()
    forge.redirect = f"{other.address}/repos"
    load().main(env)
    other.server_close()
    assert len(forge.seen) == 1 and other.seen == []


def test_a_long_report_is_cut_at_a_line() -> None:
    module = load()
    body = module.body_of("| row |\n" * 20_000, "<!-- mark -->")
    assert 60_000 < len(body) <= module.LIMIT
    assert body.startswith("<!-- mark -->\n") and "| row |\n\n\nCut here" in body
    assert module.body_of("short\n", "<!-- mark -->") == "<!-- mark -->\nshort\n"


def test_a_failed_gate_still_comments_and_still_fails(forge: Forge, env: dict[str, str], tmp_path: Path) -> None:
    work = tmp_path / "work"
    for name in ("base", "impostor"):
        shutil.copytree(ROOT / "examples" / name, work / name)
    inputs = {"paths": "impostor", "bases": "provenance-gate-examples/base=base", "offline": "true"}
    inputs |= {"comment": "true", "github-token": "secret"}
    runner = {name: value for name, value in env.items() if name.startswith("GITHUB_")}
    result = run_action(inputs, work, tmp_path / "temp", installed={"python": sys.executable}, env=runner)
    assert (result.code, len(forge.comments)) == (1, 1)
    assert "impostor" in forge.comments[0]["body"]
    assert "secret" not in result.log
