"""Starts an actor so that it does not care what becomes of us."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError

from flops_manager.adapters.process_engine.folders import ActorFolder
from flops_manager.adapters.process_engine.record import Record, taken
from flops_manager.crash import crash_point

# The outer shell ends at once, so that the actor is nobody's child: a restarted manager and the one that started it see
# the same. The inner one waits for the actor and writes its exit code; it holds the lock with it.
_SCRIPT = r"""
folder=$1; shift
printf '%s' $$ > "$folder/group"
(
  trap : TERM INT HUP
  sh -c 'folder=$1; shift; printf "%s" $$ > "$folder/pid"; exec "$@"' sh "$folder" "$@"
  code=$?
  printf '%s' "$code" > "$folder/exit.new" && mv "$folder/exit.new" "$folder/exit"
) < /dev/null >> "$folder/log" 2>&1 &
"""
START_SECONDS = 20


async def launch(
    folder: ActorFolder, record: Record, command: Sequence[str], environment: Mapping[str, str], cwd: Path
) -> None:
    """Starts the command in a session of its own. What it prints goes to the actor's log.

    :raises FlopsError: FLOPS-D004 when it cannot be started
    """
    try:
        # Once the record stands, the start is not left half done because somebody has changed their mind.
        with anyio.CancelScope(shield=True), anyio.fail_after(START_SECONDS):
            await anyio.to_thread.run_sync(_clear, folder)
            with taken(folder) as lock:
                await anyio.to_thread.run_sync(record.write, folder)
                crash_point("deploy.before-start")
                done = await anyio.run_process(
                    ["sh", "-c", _SCRIPT, "sh", str(folder.root), *command],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=cwd,
                    env=environment,
                    start_new_session=True,
                    pass_fds=(lock,),
                )
            crash_point("deploy.after-start")
    except (OSError, TimeoutError) as error:
        raise FlopsError("FLOPS-D004", f"{record.instance}: {type(error).__name__}: {error}") from error
    if done.returncode != 0:
        raise FlopsError("FLOPS-D004", f"{record.instance}: the shell that starts it ended with {done.returncode}")


def _clear(folder: ActorFolder) -> None:
    """Takes away what is left of the life before; its state stays."""
    folder.state.mkdir(parents=True, exist_ok=True)
    for path in (folder.record, folder.group, folder.pid, folder.exit):
        path.unlink(missing_ok=True)
    if folder.log.exists():
        folder.log.replace(folder.earlier_log)
