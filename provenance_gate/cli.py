"""The command line: arguments, streams and exit codes. It decides nothing.

Exit codes: 0 pass; 1 the policy failed; 2 usage, or policy unreadable; 3 artifact or registry could not be read or measured.
Modules that do work are imported by the command that needs them: `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from provenance_gate._version import __version__
from provenance_gate.commands import COMMANDS
from provenance_gate.errors import ProvenanceGateError, one_line

_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
"""Set to 1 before numpy is imported: idle threads of BLAS spin, which made comparisons on a busy machine ten times as long.
Where there is much to multiply, whole blocks are worked on in parallel instead."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="provenance-gate %(version)s")
def app() -> None:
    """Check from the weights where a machine-learning model comes from.

    \b
    Start here:
      provenance-gate compare ./model ./base       is this model derived from that one?
      provenance-gate check ./model --base ORG/NAME=./base --bom bom.cdx.json
                                                   the gate: policy, verdict, ML-BOM
      provenance-gate audit ./model                is it a known model with the serial numbers filed off?
      provenance-gate scan ./model                 which known models does it come from, under which licenses?
      provenance-gate registry list                the models that are known
      provenance-gate policy init                  a commented policy to start from

    \b
    Exit codes: 0 pass; 1 the policy failed; 2 usage, or policy unreadable;
    3 a model or registry could not be read.
    """


for command in COMMANDS:
    app.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: run, and turn every error into one line and an exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    for library in _BLAS_THREADS:
        os.environ.setdefault(library, "1")
    try:
        code = app.main(args=given, prog_name="provenance-gate", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except ProvenanceGateError as error:
        code = _fail(str(error), error.exit_code, debug=debug)
    except BrokenPipeError:
        # The reader of stdout went away: nothing was judged for it to see. Keep Python's own flush at exit quiet.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        code = 3
    except (click.Abort, KeyboardInterrupt):
        code = _fail("interrupted", 130, debug=False)
    except Exception as error:  # noqa: BLE001  Python's own exit code for a crash is 1, which would read as "policy failed".
        text = f"internal error: {type(error).__name__}: {one_line(str(error))}; --debug shows where"
        code = _fail(text, 3, debug=debug)
    raise SystemExit(code or 0)


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    # Build servers look for commands in a log, wherever they stand in a line.
    sys.stderr.write(f"provenance-gate: error: {message.replace('##', '#' + chr(92) + 'u0023')}\n")
    return code


if __name__ == "__main__":
    main()
