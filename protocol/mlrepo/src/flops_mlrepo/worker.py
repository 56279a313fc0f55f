"""Entry point of the ML worker: `python -u -I -S -B worker.py CHANNEL TRACE PARENT NETWORK MLENV CODE [FOLDER…]`.

CHANNEL is the descriptor of the socket to the host, TRACE that of a file for the tracebacks of hangs and crashes,
NETWORK `yes` or `no`.
Started isolated and without site-packages, so that only the environment and the code that are named here are seen.
"""

import sys


def prepare_paths(mlenv: str, code: str, folders: "tuple[str, ...]" = ()) -> None:
    """Has the environment and the code found, the code first, `folders` behind the environment."""
    import pathlib
    import site

    site.addsitedir(mlenv)
    sys.path += folders
    own = str(pathlib.Path(__file__).absolute().parent.parent)
    if own not in sys.path:
        sys.path.append(own)
    sources = pathlib.Path(code, "src")
    sys.path[:0] = [code, str(sources)] if sources.is_dir() else [code]


def _end_with_parent(parent: int) -> None:
    """Has the kernel end this process when the host dies, however it dies."""
    import os
    import signal

    try:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        # An interpreter without ctypes: the worker then ends at its next look at the channel.
        return
    if os.getppid() != parent:
        os._exit(0)


def main() -> int:
    """Sets the process up and serves until the host closes the channel."""
    import faulthandler
    import os
    import pathlib
    import signal
    import socket

    channel_fd, trace_fd, parent = (int(text) for text in sys.argv[1:4])
    network, mlenv, code, folders = sys.argv[4], sys.argv[5], sys.argv[6], sys.argv[7:]
    _end_with_parent(parent)
    for fd in (channel_fd, trace_fd):
        os.set_inheritable(fd, False)
    # A real-time signal: the code may use SIGUSR1 and SIGUSR2 for itself.
    faulthandler.enable(file=trace_fd, all_threads=False)
    faulthandler.register(signal.SIGRTMIN + 7, file=trace_fd, all_threads=True)
    prepare_paths(mlenv, code, tuple(folders))
    in_network = ""
    if network == "no":
        from flops_mlrepo.guest.isolation import leave_the_network

        in_network = leave_the_network()
    try:
        import numpy as np  # noqa: F401
    except ImportError as error:
        sys.stderr.write(f"the ML environment has no usable NumPy: {error}\n")
        return 70
    from flops_mlrepo.guest.session import serve

    channel = socket.socket(fileno=channel_fd)
    channel.settimeout(None)
    # What the code forks must neither answer for us nor keep the channel open.
    os.register_at_fork(after_in_child=channel.close)
    # The code's own use of the command line must not see ours.
    sys.argv = [str(pathlib.Path(code, "model_manager.py"))]
    try:
        serve(channel, mlenv, code, in_network)
    except (BrokenPipeError, ConnectionResetError):
        # The host is gone.
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
