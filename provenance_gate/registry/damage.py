"""What to do with a part of a registry that cannot be believed: stop, or leave it out and say so."""

from __future__ import annotations

from dataclasses import dataclass, field

from provenance_gate.errors import RegistryError, one_line


@dataclass(slots=True)
class Damage:
    """Sentences about damaged parts. Without `skip` the first one is raised."""

    skip: bool = False
    _found: dict[str, None] = field(default_factory=dict)

    def report(self, message: str, cause: Exception | None = None) -> None:
        """Remember that a part was left out. Raises RegistryError unless damaged parts are skipped."""
        if not self.skip:
            raise RegistryError(message) from cause
        self._found.setdefault(one_line(message, 600))

    @property
    def found(self) -> tuple[str, ...]:
        """In the order in which they were met, each once."""
        return tuple(self._found)
