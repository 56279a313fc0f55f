"""Model code that misbehaves in one way: the plain line with a line more."""

from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "fixtures" / "mlrepos"
PLAIN = (FIXTURES / "plain" / "model_manager.py").read_text()
PROXIMAL = (FIXTURES / "proximal" / "model_manager.py").read_text()
"""The plain line with FedProx's term."""
FIRST_LEARNER = "self.x[0] == -1.0"
"""True where the code has the first part of the data."""


def in_fit(*lines: str, when: str = "True") -> str:
    """Does this at the beginning of fit_model()."""
    return _in("fit_model", lines, when)


def in_evaluate(*lines: str, when: str = "True") -> str:
    """Does this at the beginning of evaluate_model()."""
    return _in("evaluate_model", lines, when)


def in_load(*lines: str, when: str = "True") -> str:
    """Does this at the end of set_model_data()."""
    last = '        self.x, self.y = columns["x"], columns["y"]\n'
    assert last in PLAIN
    return PLAIN.replace(last, last + _block(lines, when))


def slow(seconds: float) -> str:
    """Trains for so long."""
    return in_fit("import time", f"time.sleep({seconds})")


def _in(method: str, lines: tuple[str, ...], when: str) -> str:
    head = f"    def {method}(self):\n"
    assert head in PLAIN
    return PLAIN.replace(head, head + _block(lines, when))


def _block(lines: tuple[str, ...], when: str) -> str:
    return f"        if {when}:\n" + "".join(f"            {line}\n" for line in lines)
