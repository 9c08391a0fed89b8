"""What the exit code of every command means. The one place where the numbers stand.

| code | name        | meaning                                                                              |
|------|-------------|--------------------------------------------------------------------------------------|
| 0    | OK          | done; `status`: Healthy; `validate`, `diff`, `doctor`, `verify`: nothing to report   |
| 1    | NEGATIVE    | the answer is no: Degraded, Failed, a problem or difference, nothing to abort        |
| 2    | USAGE       | a flag, an argument or the configuration can't be used                               |
| 3    | CLUSTER     | the cluster gave no answer or refused the request                                    |
| 4    | GIT         | Git or a forge gave no answer or refused, or the decision can't be written here      |
| 5    | TIMEOUT     | `--timeout` was over before the answer was there                                     |
| 6    | NOT_FOUND   | the named object isn't there                                                         |
| 7    | UNFINISHED  | `status` without `--watch`: Progressing or Paused, neither Healthy nor Degraded yet  |
| 8    | INCONCLUSIVE| `analysis test`: neither yes nor no; `verify`: some count only if the forge says so  |
| 9    | UNMEASURED  | `analysis test`: the template can't be carried out, or a metric could not be measured |
| 70   | BUG         | an error that nobody foresaw; run again with `gor --debug` for the traceback         |
| 130  | INTERRUPTED | Ctrl-C                                                                               |
"""

from __future__ import annotations

from typing import Final

from gitops_rollouts import errors

OK: Final = 0
NEGATIVE: Final = 1
USAGE: Final = 2
CLUSTER: Final = 3
GIT: Final = 4
TIMEOUT: Final = 5
NOT_FOUND: Final = 6
UNFINISHED: Final = 7
INCONCLUSIVE: Final = 8
UNMEASURED: Final = 9
BUG: Final = 70
INTERRUPTED: Final = 130

_BY_ERROR: Final[tuple[tuple[type[errors.GorError], int], ...]] = (
    (errors.ConfigError, USAGE),
    (errors.InputError, NEGATIVE),
    (errors.GitError, GIT),
    (errors.ForgeError, GIT),
    (errors.NothingToAbort, NEGATIVE),
    (errors.DecisionError, GIT),
    (errors.NotFound, NOT_FOUND),
    (errors.KubeError, CLUSTER),
    (errors.UnknownKind, CLUSTER),
    (errors.LeadershipLost, CLUSTER),
    (errors.LocalClusterError, CLUSTER),
)


def code_for(error: errors.GorError) -> int:
    """The exit code with which a command ends that raised ``error``."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), NEGATIVE)
