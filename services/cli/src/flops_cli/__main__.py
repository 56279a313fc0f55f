"""`flops`."""


def main() -> None:
    """Runs the command line."""
