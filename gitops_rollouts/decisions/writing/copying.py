"""Copies images into a target's files, of many Rollouts at once, and makes sure that nothing else changes (§5).

Pushes nothing: it gives the edits of one commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

from gitops_rollouts.decisions.desk.setting import set_image, set_images_in
from gitops_rollouts.decisions.desk.verbs import Plan, View
from gitops_rollouts.decisions.editing.drafting import Draft
from gitops_rollouts.decisions.editing.image_edit import containers_of, with_images
from gitops_rollouts.decisions.identity import canonical_json
from gitops_rollouts.decisions.reading.neighbour import NeighbourReader, wholes
from gitops_rollouts.decisions.state import Key, Other, TargetAt
from gitops_rollouts.errors import GorError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.writing import Author

Images = Mapping[str, str]
"""Container → image."""
MAX_TRIES: Final = 40
"""So many edits of kustomizations and values are tried for one commit: each costs a render."""
_MAX_WAYS: Final = 8


@dataclass(slots=True)
class Copied:
    """``edits`` of the tree; ``problems``: why a Rollout isn't among them."""

    edits: dict[str, bytes | None] = field(default_factory=dict)
    done: dict[Key, Images] = field(default_factory=dict)
    problems: dict[Key, str] = field(default_factory=dict)
    tries: int = 0


class Copier:
    """For one repository. Blocks; belongs to the writer. Remembers the last result of each target."""

    def __init__(self, mirror: Mirror, neighbours: NeighbourReader, author: Author) -> None:
        self._mirror = mirror
        self._neighbours = neighbours
        self._author = author
        self._known: dict[str, tuple[object, Copied]] = {}

    def copy(self, at: TargetAt, wanted: Mapping[Key, Images]) -> Copied:
        """The edits that give these Rollouts these images."""
        asked = (at.spec, at.rendered.fingerprint, {key: dict(images) for key, images in wanted.items()})
        known = self._known.get(at.spec.name)
        if known is None or known[0] != asked:
            known = self._known[at.spec.name] = (asked, self._copy(at, wanted))
        return known[1]

    def forget(self, target: str) -> None:
        """A target is gone, or wants nothing."""
        self._known.pop(target, None)

    def _copy(self, at: TargetAt, wanted: Mapping[Key, Images]) -> Copied:
        result = Copied()
        draft, literal, rendered = Draft(self._mirror.tree(at.commit)), dict[Key, Images](), list[Key]()
        for key, images in sorted(wanted.items()):
            try:
                if set_images_in(draft, self._view(at, key), images):
                    literal[key] = images
                else:
                    rendered.append(key)
            except GorError as err:
                result.problems[key] = str(err)
        now = at
        if draft.edits:
            after = self._tried(at, draft.edits)
            wrong = self._wrong(at, after, literal)
            if wrong:
                result.problems |= dict.fromkeys(literal, wrong)
            else:
                result.edits, result.done, now = dict(draft.edits), literal, after
        for key in rendered:
            now = self._rendered(at, now, key, wanted, result)
        return result

    def _rendered(
        self, first: TargetAt, now: TargetAt, key: Key, wanted: Mapping[Key, Images], into: Copied
    ) -> TargetAt:
        """One Rollout whose image stands in a kustomization or in values: the first of the ways that is right."""
        images = wanted[key]
        try:
            outcome = set_image(self._view(now, key), images)
            if not isinstance(outcome, tuple):
                into.done[key] = images  # the entry of one before it was its own, too
                return now
            why = "no edit of one place gives it that image alone"
            for plan in islice(outcome, _MAX_WAYS):
                if into.tries >= MAX_TRIES:
                    why = f"{MAX_TRIES} edits were tried for this request already"
                    break
                into.tries += 1
                after = self._tried(now, plan.edits)
                wrong = self._wrong(first, after, {**into.done, key: images}, may=wanted) or self._unlike(plan, after)
                if not wrong:
                    into.edits |= plan.edits
                    into.done[key] = images
                    return after
                why = wrong
        except GorError as err:
            why = str(err)
        into.problems[key] = why
        return now

    @staticmethod
    def _unlike(plan: Plan, after: TargetAt) -> str:
        try:
            plan.finish(after)
        except GorError as err:
            return str(err)
        return ""

    def _view(self, at: TargetAt, key: Key) -> View:
        return View(self._mirror, at.spec, at, key, self._author.name)

    def _tried(self, at: TargetAt, edits: Mapping[str, bytes | None]) -> TargetAt:
        """The target as it would be; what Git says of its Rollouts besides isn't looked at."""
        commit = self._mirror.commit(at.commit, edits, "draft\n", self._author)
        here = Other(at.spec.name, at.spec.path, at.spec.target_namespace)
        return replace(at, commit=commit, rendered=self._neighbours.render(here, commit))

    @staticmethod
    def _wrong(
        before: TargetAt, after: TargetAt, done: Mapping[Key, Images], may: Mapping[Key, Images] | None = None
    ) -> str:
        """What isn't as it was meant: each Rollout is as before but for its images, and the others are untouched.

        ``may``: those that may have their images, too, since one entry can be for several.
        """
        if after.rendered.failed:
            return f"it can't be rendered any more: {after.rendered.problems[0] if after.rendered.problems else ''}"
        old, new = _rollouts(before), _rollouts(after)
        if old.keys() != new.keys():
            return "the edit would change which Rollouts there are"
        for key, raw in old.items():
            expected = with_images(raw, {**containers_of(raw), **done[key]}) if key in done else raw
            if canonical_json(new[key]) == canonical_json(expected):
                continue
            allowed = (may or {}).get(key)
            if allowed and canonical_json(new[key]) == canonical_json(
                with_images(raw, {**containers_of(raw), **allowed})
            ):
                continue
            return f"the edit would change {key[0]}/{key[1]} otherwise than meant"
        return ""


def _rollouts(at: TargetAt) -> dict[Key, Mapping[str, Any]]:
    return {key: whole for key, (_, whole) in wholes(at.rendered).items()}


def image_list(images: Iterable[Images]) -> tuple[str, ...]:
    """Every image once, in order."""
    return tuple(dict.fromkeys(image for each in images for image in each.values()))
