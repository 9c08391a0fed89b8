"""Who may let traffic grow (docs/decisions.md §6 "Authority"). It comes from the cluster, never from the tree."""

from __future__ import annotations

from dataclasses import dataclass

from gitops_rollouts.git.signatures import AnySigner, Signature


@dataclass(frozen=True, slots=True)
class Policy:
    """Trusted keys, and what their owners may do. A target without a policy takes every line as it stands."""

    signers: tuple[AnySigner, ...]
    promoters: frozenset[str]
    """Principals who may add a promotion or take an abort away."""
    engines: frozenset[str] = frozenset()
    """Principals of engines: they may take aborts away, and their records are trusted. Empty: any record is."""
    approvers: frozenset[tuple[str, str]] = frozenset()
    """Who may approve requests on the forge: logins in lower case, each with its owner's principal or ``""``."""

    def may_promote(self, signature: Signature) -> bool:
        """Whether a commit with this signature may bring a promotion in.

        An engine's key is not enough: its own commits on request branches hold promotions that nobody approved yet.
        """
        return signature.state == "good" and not self.promoters.isdisjoint(signature.principals)

    def may_lift(self, signature: Signature) -> bool:
        """Whether a commit with this signature may take an abort away."""
        return self.may_promote(signature) or self.is_engine(signature)

    def is_engine(self, signature: Signature) -> bool:
        """Whether an engine signed it."""
        return signature.state == "good" and not self.engines.isdisjoint(signature.principals)

    def may_record(self, signature: Signature) -> bool:
        """Whether a record that was brought in so is trusted. Promoters may too: that is how one is put right."""
        return not self.engines or self.may_lift(signature)

    def without_effect(self, verb: str, signature: Signature, *, pushed: bool = True) -> str:
        """Why a commit by which somebody does ``promote`` or ``retry`` counts for nothing; empty: it counts.

        ``pushed`` False: they only would.
        """
        may = {"promote": self.may_promote, "retry": self.may_lift}.get(verb)
        if may is None or may(signature):
            return ""
        logins = sorted(login for login, _ in self.approvers)
        ways = [f"one signed by {_some(sorted(self.promoters))}"] if self.promoters else []
        ways += [f"a request on the forge, approved by {_some(logins)} and merged there"] if logins else []
        what, then = ("It opens no gate", "gor withdraw") if verb == "promote" else ("The abort stands", "git revert")
        back = f"; {then} takes this one back" if pushed else ""
        return f"{what}: it is signed by {signature.text}. What counts is {' or '.join(ways)}{back}"


def _some(names: list[str]) -> str:
    """A few names, and how many more there are."""
    shown = " or ".join(names[:3])
    return f"{shown} (or {len(names) - 3} others)" if len(names) > 3 else shown
