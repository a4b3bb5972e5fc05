"""``python -m provenance_gate``."""

from provenance_gate.cli import main

if __name__ == "__main__":
    main()
