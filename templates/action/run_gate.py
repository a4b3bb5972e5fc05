"""One step of the GitHub Action: inputs from PG_* variables, one run of the gate, results to the files of the runner.

Decides nothing: the exit code is the gate's own. All that a model's files can put into the log is printed while workflow
commands are off, but for the annotations, which the gate's `github` report escapes. The gate is a process of its own, so that
its crash cannot leave the outputs unwritten.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

PASSED, FAILED, USAGE, UNREADABLE = range(4)
VERDICTS = ("pass", "fail", "undecided")
REPORTS = {
    "cyclonedx": "bom.cdx.json",
    "sarif": "provenance-gate.sarif",
    "vsa-predicate": "provenance-gate.vsa.json",
    "checksums": "checksums.txt",
    "json": "report.json",
    "markdown": "summary.md",
    "github": "annotations.txt",
}
OUTPUTS = {
    "bom-path": "cyclonedx",
    "sarif-path": "sarif",
    "vsa-path": "vsa-predicate",
    "checksums-path": "checksums",
    "summary-path": "markdown",
}
SUMMARY_LIMIT = 1 << 20
"""Bytes that the runner takes per step; it drops a larger summary as a whole."""


class InputError(Exception):
    """An input that the step refuses; the message names it."""


def items(name: str, text: str) -> list[str]:
    """The lines of a list input. Raises InputError for one that the command line could take for an option."""
    found = [line.strip() for line in text.splitlines() if line.strip()]
    for item in found:
        if item.startswith("-"):
            raise InputError(f"{name}: {item!r} starts with a dash; write ./{item} for a file of that name")
    return found


def word(name: str, text: str) -> str:
    """A single-line input; empty when it is not given."""
    found = items(name, text)
    if len(found) > 1:
        raise InputError(f"{name}: expected one line, found {len(found)}")
    return found[0] if found else ""


def switch(name: str, text: str) -> bool:
    """A boolean input."""
    value = word(name, text).lower()
    if value not in ("true", "false"):
        raise InputError(f"{name}: expected true or false, found {value!r}")
    return value == "true"


def arguments(env: Mapping[str, str], folder: Path) -> list[str]:
    """The command line for these inputs, with every report in `folder`."""

    def given(name: str) -> str:
        return env.get("PG_" + name.upper().replace("-", "_"), "")

    models = items("paths", given("paths"))
    if not models:
        raise InputError("paths: no model given")
    found = [f"--base={base}" for base in items("bases", given("bases"))]
    found += [f"--registry={place}" for place in items("registries", given("registries"))]
    for name in ("policy", "policy-sha256", "fail-on", "baseline"):
        value = word(name, given(name))
        found += [f"--{name}={value}"] if value else []
    found += [f"--{name}" for name in ("recursive", "offline") if switch(name, given(name) or "false")]
    found += [f"--report={kind}={folder / file}" for kind, file in REPORTS.items()]
    return ["check", *found, "--format=human", "--", *models]


def run(command: list[str], token: str) -> tuple[int, str]:
    """The gate's exit code, and what it said on stderr. Its output goes to the log, where it commands nothing."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PG_")}
    if token:
        env["HF_TOKEN"] = token
    # A verification summary has to say when it was made, and the gate reads no clock.
    env.setdefault("SOURCE_DATE_EPOCH", str(int(time.time())))
    word_to_resume = secrets.token_hex(16)
    say(f"::stop-commands::{word_to_resume}")
    try:
        done = subprocess.run(  # noqa: S603  A list of arguments, no shell; items that look like options were refused.
            [sys.executable, "-I", "-X", "utf8", "-m", "provenance_gate", *command],
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        complaint = done.stderr.decode("utf-8", "replace")
        say(complaint.rstrip("\n"))
    finally:
        say(f"\n::{word_to_resume}::")
    return (done.returncode if PASSED <= done.returncode <= UNREADABLE else UNREADABLE), complaint


def verdict_of(code: int, folder: Path) -> str:
    """The verdict in the JSON report; "error" when the gate did not judge or its report cannot be read."""
    if code not in (PASSED, FAILED):
        return "error"
    try:
        found = json.loads((folder / REPORTS["json"]).read_text("utf-8"))["verdict"]
    except (OSError, ValueError, KeyError, TypeError):
        return "error"
    return found if found in VERDICTS else "error"


def say(text: str) -> None:
    """Print, whatever the encoding of the log; at once, since the gate writes to the same log."""
    sys.stdout.buffer.write(f"{text}\n".encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def annotate(message: str) -> None:
    """One error annotation. The escapes are the runner's."""
    escaped = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    say(f"::error title=provenance-gate::{escaped}")


def write_outputs(env: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Outputs of the step, one line each. None of them comes from a model."""
    for name, value in values.items():
        if not value.isprintable():
            raise InputError(f"output {name}: {value!r} is not one printable line")
    if env.get("GITHUB_OUTPUT"):
        with Path(env["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())


def write_summary(env: Mapping[str, str], text: str) -> None:
    """Append to the job summary as much as the runner accepts, cut at a line."""
    if not env.get("GITHUB_STEP_SUMMARY"):
        return
    path = Path(env["GITHUB_STEP_SUMMARY"])
    room = SUMMARY_LIMIT - (path.stat().st_size if path.exists() else 0)
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > room:
        note = b"\n\nCut here: a summary holds 1 MiB. The reports are complete.\n"
        data = data[: data.rfind(b"\n", 0, max(0, room - len(note))) + 1] + note if room > len(note) else b""
    with path.open("ab") as file:
        file.write(data)


def main(env: Mapping[str, str]) -> int:
    """The whole step. Returns the gate's exit code."""
    folder = Path(tempfile.mkdtemp(prefix="provenance-gate-", dir=env.get("RUNNER_TEMP") or None))
    summary = True
    try:
        command = arguments(env, folder)
        summary = switch("summary", env.get("PG_SUMMARY") or "true")
        code, complaint = run(command, word("hf-token", env.get("PG_HF_TOKEN", "")))
    except InputError as error:
        code, complaint = USAGE, str(error)
    verdict = verdict_of(code, folder)
    if verdict == "error" and code in (PASSED, FAILED):
        code, complaint = UNREADABLE, "the gate ended without a readable report"
    written = {
        kind: folder / file for kind, file in REPORTS.items() if verdict != "error" and (folder / file).is_file()
    }
    if "github" in written:
        say(written["github"].read_text("utf-8").rstrip("\n"))
    if verdict == "error":
        last = complaint.strip().splitlines()[-1:] or [f"the gate ended with exit code {code}"]
        annotate(last[0])
    if summary and "markdown" in written:
        write_summary(env, written["markdown"].read_text("utf-8"))
    elif summary:
        write_summary(env, "**provenance-gate** could not judge: the log of the step says why.\n")
    paths = {name: str(written[kind]) if kind in written else "" for name, kind in OUTPUTS.items()}
    write_outputs(env, {"verdict": verdict, "exit-code": str(code), **paths})
    return code


if __name__ == "__main__":
    try:
        CODE = main(os.environ)
    except Exception as error:  # noqa: BLE001  Python's own exit code for a crash is 1, which would read as "policy failed".
        annotate(f"the step failed: {type(error).__name__}: {error}")
        CODE = UNREADABLE
    sys.exit(CODE)
