"""Where private keys lie while this process lives: one folder, and none of a process that was killed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from gitops_rollouts.git.gpg import end_signing_ring

_PREFIX: Final = "gor-sign-"
_NAME: Final = re.compile(rf"{_PREFIX}([0-9]{{1,10}})-\w+")
_ours: Final[set[str]] = set()


def make_key_folder() -> Path:
    """A new folder that this user alone may enter. Keys that a killed process left behind are removed first."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        match = _NAME.fullmatch(left.name)
        if match and left.name not in _ours and _is_left(left, int(match[1])):
            remove_key_folder(left)
    made = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))  # mode 0700
    _ours.add(made.name)
    return made


def remove_key_folder(folder: Path) -> None:
    """Remove the keys, and end what gpg left running for them."""
    for ring in folder.iterdir():
        if ring.is_dir() and not ring.is_symlink():
            end_signing_ring(ring)
    shutil.rmtree(folder, ignore_errors=True)
    _ours.discard(folder.name)


def _is_left(folder: Path, process: int) -> bool:
    """Whether a folder is this user's, and of a process that is gone. In a container each has the same number."""
    try:
        found = folder.lstat()
        if folder.is_symlink() or not folder.is_dir() or found.st_uid != os.getuid():
            return False
        if process != os.getpid():
            os.kill(process, 0)
            return False
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return True
