"""Keep one comment on the pull request that says what the gate found, updated in place.

The comment is found by a hidden mark, never by its author: whoever holds the token may change. What goes wrong here is a warning:
it never changes what the gate said.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

LIMIT = 65_536
"""Characters that GitHub takes as a comment."""
PAGES, PER_PAGE = 20, 100
LARGEST_ANSWER = 32 << 20
SECONDS = 20


class CommentError(Exception):
    """The comment could not be written; the message says why."""


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """None: the token goes to no other place than the runner names."""


def mark(env: Mapping[str, str]) -> str:
    """A hidden line that tells this gate's comment from all others, also from those of a second gate in the workflow."""
    name = "\0".join(env.get(part, "") for part in ("GITHUB_WORKFLOW", "GITHUB_JOB", "PG_PATHS"))
    return f"<!-- provenance-gate {hashlib.sha256(name.encode()).hexdigest()[:16]} -->"


def pull_request(env: Mapping[str, str]) -> int | None:
    """The number of the pull request; None when there is none, or it comes from a fork, whose token may not write."""
    try:
        event = json.loads(Path(env["GITHUB_EVENT_PATH"]).read_text("utf-8"))
        found = event["pull_request"]
        head = found["head"]["repo"]["full_name"]
        return int(found["number"]) if head == env["GITHUB_REPOSITORY"] else None
    except (KeyError, TypeError, ValueError, OSError):
        return None


def body_of(text: str, line: str) -> str:
    """The mark and as much of the text as a comment holds, cut at a line."""
    whole = f"{line}\n{text}"
    if len(whole) <= LIMIT:
        return whole
    note = "\n\nCut here: the job summary and the reports say more.\n"
    return whole[: whole.rfind("\n", 0, LIMIT - len(note)) + 1] + note


def call(env: Mapping[str, str], method: str, path: str, body: Mapping[str, str] | None = None) -> Any:
    """One request to the API that the runner names, and its JSON answer."""
    address = env.get("GITHUB_API_URL", "https://api.github.com").rstrip("/") + path
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname != "127.0.0.1":
        raise CommentError(f"{parts.scheme}://{parts.hostname}: a token is sent by https only")
    headers = {"Authorization": f"Bearer {env['PG_GITHUB_TOKEN']}", "Accept": "application/vnd.github+json"}
    data = None if body is None else json.dumps(body).encode()
    request = Request(address, data, headers, method=method)  # noqa: S310  The scheme was checked above.
    try:
        with build_opener(_NoRedirect).open(request, timeout=SECONDS) as answer:
            return json.loads(answer.read(LARGEST_ANSWER))
    except (URLError, OSError, ValueError) as error:
        raise CommentError(f"{method} {parts.path}: {error}") from error


def write(env: Mapping[str, str], number: int, text: str) -> str:
    """Update the comment that carries our mark, or make one. Returns what was done."""
    issues, line = f"/repos/{env['GITHUB_REPOSITORY']}/issues", mark(env)
    body = {"body": body_of(text, line)}
    for page in range(1, PAGES + 1):
        comments = call(env, "GET", f"{issues}/{number}/comments?per_page={PER_PAGE}&page={page}")
        if not isinstance(comments, list):
            raise CommentError("the list of comments is no list")
        for comment in comments:
            if isinstance(comment, dict) and str(comment.get("body", "")).startswith(line):
                call(env, "PATCH", f"{issues}/comments/{int(comment['id'])}", body)
                return "updated"
        if len(comments) < PER_PAGE:
            break
    call(env, "POST", f"{issues}/{number}/comments", body)
    return "written"


def main(env: Mapping[str, str]) -> None:
    """The whole step. Says what it did; always succeeds."""
    number, summary = pull_request(env), env.get("PG_SUMMARY_PATH", "")
    if number is None or not env.get("PG_GITHUB_TOKEN") or not summary:
        print("no comment: no pull request of this repository, no token, or nothing to say")
        return
    try:
        print(f"comment {write(env, number, Path(summary).read_text('utf-8'))}")
    except (CommentError, OSError, KeyError, ValueError) as error:
        message = (
            f"no comment on the pull request: {error}".replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        )
        print(f"::warning title=provenance-gate::{message}")


if __name__ == "__main__":
    main(os.environ)
    sys.exit(0)
