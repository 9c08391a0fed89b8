"""Every error that this program raises on purpose, as one tree.

    GorError
    ├── ConfigError            a flag, the config file or a GitSync's spec can't be used
    │   └── SecretUnusable     the Secret that opens a repository isn't there, or can't be used
    ├── InputError             something that came from Git can't be used
    │   ├── YamlError          a document can't be read
    │   ├── RenderError        a directory can't be turned into objects
    │   └── InvalidObject      an object breaks its schema or a rule
    ├── GitError               a Git operation failed
    │   ├── GitUnreachable     no answer, or the remote's answer was no Git
    │   ├── GitAccessDenied    the credential was refused, or there is none
    │   ├── RefMissing         the branch or commit isn't there
    │   ├── PushRaced          somebody else pushed first: plan again on the new tip
    │   └── PushRefused        the server's policy forbids this push
    ├── DecisionError          a decision can't be written into, or read from, this tree
    │   └── NothingToAbort     the version is the stable one: there is nothing else to go back to
    ├── KubeError              the Kubernetes API refused a request
    │   ├── KubeUnreachable    no answer, or the answer was no Kubernetes Status
    │   ├── NotFound           404
    │   ├── AlreadyExists      409, reason AlreadyExists
    │   ├── Conflict           409, somebody else wrote first, or owns the field
    │   ├── Unauthorized       401
    │   ├── Forbidden          403
    │   ├── Invalid            422 and 400: the API server refused the object
    │   ├── NameTaken          an object of the wanted name belongs to something else
    │   ├── CreateRefused      a new ReplicaSet was refused
    │   ├── Gone               410: a list or watch position is too old
    │   └── TooManyRequests    429, also a PodDisruptionBudget that forbids an eviction
    ├── PluginError            a plugin failed, crashed, hung or answered nonsense
    │   ├── PluginMissing      no plugin of this name is installed
    │   └── PluginUnusable     it is installed and can't be started, or breaks the interface
    ├── RoutingError           a traffic router could not make true what it was told
    │   └── StillRouting       a router hasn't answered yet: look again when it has
    ├── ForgeError             a forge (GitHub, GitLab, Gitea, Bitbucket) could not do what it was asked
    │   ├── ForgeUnreachable   no answer, or one that its API doesn't give
    │   ├── ForgeDenied        the token is refused, or may not do this
    │   ├── ForgeMissing       the repository, request or commit isn't there, or the token can't see it
    │   ├── ForgeRefused       it understood, and says no: the state of things forbids it
    │   └── ForgeLimited       it asks for fewer requests
    ├── AwsError               a service of AWS could not be asked
    │   └── AwsThrottled       it asks for fewer requests
    ├── TemplateError          analysis templates can't be turned into a run, or a run can't be carried out
    ├── MetricError            a measurement could not be taken
    │   └── ConditionError     a condition can't be read or evaluated
    ├── UnknownKind            the cluster serves no such apiVersion and kind
    ├── LeadershipLost         another process holds the Lease: stop all side effects
    └── LocalClusterError      the local control plane can't be built or started
        └── DemoFailed         the demo did not go as it should

A message says what happened and to which object; ``remedy`` says what to do now. Neither ever holds a
secret: whoever raises one strips user info from URLs and never quotes a credential or an object's body.
"""

from __future__ import annotations


class GorError(Exception):
    """The root of the tree. ``message``: one sentence. ``remedy``: what the reader can do, or ``""``."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class ConfigError(GorError):
    """A flag, the config file or a GitSync's spec can't be used."""


class SecretUnusable(ConfigError):
    """The Secret that opens a repository isn't there, or can't be used."""


class InputError(GorError):
    """Something that came from Git can't be used.

    ``path`` is relative to the repository's root, ``line`` counts from 1 (0: unknown), ``field`` is a
    path such as ``spec.strategy.canary.steps[1].pause`` (``""``: the whole document).
    """

    def __init__(self, message: str, *, path: str = "", line: int = 0, field: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.path = path
        self.line = line
        self.field = field

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return ": ".join(part for part in (where, self.field, super().__str__()) if part)


class YamlError(InputError):
    """A document can't be read as YAML, or is larger, deeper or more aliased than allowed."""


class RenderError(InputError):
    """A directory can't be turned into objects: a renderer failed, timed out or was refused an input."""


class InvalidObject(InputError):
    """An object breaks its schema or a rule of docs/behaviour.md §20."""


class GitError(GorError):
    """A Git operation failed."""


class GitUnreachable(GitError):
    """The remote gave no answer, or one that isn't Git's."""


class GitAccessDenied(GitError):
    """The remote refused the credential, or wants one and none was given."""


class RefMissing(GitError):
    """The branch or commit isn't in the repository."""


class PushRaced(GitError):
    """The branch moved under a push. Fetch, plan again on the new tip, push again."""


class PushRefused(GitError):
    """The server's policy forbids this push; trying again changes nothing. ``diff``: what a person may propose."""

    def __init__(self, message: str, *, remedy: str = "", diff: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.diff = diff


class DecisionError(GorError):
    """A decision can't be written into, or read from, this tree."""


class NothingToAbort(DecisionError):
    """The version is the stable one, so there is nothing else to go back to."""


class KubeError(GorError):
    """The Kubernetes API refused a request. ``status``: HTTP code (0: none), ``reason``: the Status' reason."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.reason = reason


class KubeUnreachable(KubeError):
    """No answer from the API server, or one that is no Kubernetes Status."""


class NotFound(KubeError):
    """404: the object, its namespace or its resource isn't there."""


class AlreadyExists(KubeError):
    """409 on a create: the name is taken."""


class Conflict(KubeError):
    """409: the object changed since it was read, or another manager owns a field.

    ``managers`` maps each field manager in conflict to the field paths that it holds.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 409,
        reason: str = "Conflict",
        remedy: str = "",
        managers: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__(message, status=status, reason=reason, remedy=remedy)
        self.managers = managers or {}


class Unauthorized(KubeError):
    """401: the API server doesn't know who asks."""


class Forbidden(KubeError):
    """403: RBAC or admission forbids the request."""


class Invalid(KubeError):
    """422 or 400: the API server refused the object."""


class NameTaken(KubeError):
    """An object of the wanted name exists and isn't this owner's. ``name``: its name, ``kind``: its kind.

    ``going``: it will be gone soon.
    """

    def __init__(self, message: str, *, name: str = "", kind: str = "ReplicaSet", going: bool = False) -> None:
        super().__init__(message, status=409)
        self.name = name
        self.kind = kind
        self.going = going


class CreateRefused(KubeError):
    """The API server refused a new object. ``name``: its name, ``kind``: its kind."""

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        kind: str = "ReplicaSet",
        status: int = 0,
        reason: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(message, status=status, reason=reason, remedy=remedy)
        self.name = name
        self.kind = kind


class Gone(KubeError):
    """410: the position of a list or watch is too old; list again."""


class TooManyRequests(KubeError):
    """429: try later. For an eviction: a PodDisruptionBudget forbids it now."""


class PluginError(GorError):
    """A plugin failed: it raised, crashed, took too long, or its answer can't be read."""


class PluginMissing(PluginError):
    """No plugin of this name is installed."""


class PluginUnusable(PluginError):
    """The plugin is installed, but it can't be started or doesn't keep to the interface."""


class RoutingError(GorError):
    """A traffic router could not make true what it was told."""


class StillRouting(RoutingError):
    """A router hasn't answered yet. The Rollout is looked at again when it has; nothing is wrong."""


class ForgeError(GorError):
    """A forge could not do what it was asked. Says which forge and what for; never holds a token."""


class ForgeUnreachable(ForgeError):
    """No answer in time, a 5xx, or an answer that isn't the API's. What was asked for may have been done."""


class ForgeDenied(ForgeError):
    """401 or 403: the token is refused, or may not do this."""


class ForgeMissing(ForgeError):
    """404: the repository, request or commit isn't there, or the token can't see it."""


class ForgeRefused(ForgeError):
    """409, 422 and the like: it understood, and the state of things forbids it."""


class ForgeLimited(ForgeError):
    """It asks for fewer requests, or our own limit is reached. ``retry_after``: seconds."""

    def __init__(self, message: str, *, remedy: str = "", retry_after: float = 60.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class AwsError(GorError):
    """A service of AWS could not be asked. ``code``: AWS' own for what it answered, ``""`` without an answer."""

    def __init__(self, message: str, *, remedy: str = "", code: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class AwsThrottled(AwsError):
    """It asks for fewer requests."""


class TemplateError(GorError):
    """Analysis templates can't be turned into a run, or a run's own spec can't be carried out (§17.1, §17.2)."""


class MetricError(GorError):
    """A measurement could not be taken; it counts as one of phase Error. The message holds no secret."""


class ConditionError(MetricError):
    """A condition can't be read or evaluated. ``at``: offset of the token in the source, -1 if none is to blame."""

    def __init__(self, message: str, *, at: int = -1) -> None:
        super().__init__(message)
        self.at = at


class UnknownKind(GorError):
    """The cluster serves no such apiVersion and kind."""


class LeadershipLost(GorError):
    """Another process holds the Lease, or ours could not be renewed: no more side effects."""


class LocalClusterError(GorError):
    """The local control plane can't be built, started or found."""


class DemoFailed(LocalClusterError):
    """The demo did not go as it should: what was waited for, and what was there instead."""
