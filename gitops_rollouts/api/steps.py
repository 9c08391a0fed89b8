"""The steps of a canary (docs/behaviour.md §2.5)."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from gitops_rollouts.api.analysis_refs import AnalysisRunMetadata, DryRun, RolloutAnalysis, RolloutExperimentAnalysis
from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.meta import REQUIRED, AnyValue, Bool, Int32, IntOrText, LabelSelector, Model

_LONGEST_PAUSE: Final = 2**31 - 1


class Pause(Model):
    """A pause. No duration: until a person says go."""

    duration: IntOrText | None = None

    @property
    def indefinite(self) -> bool:
        """Whether only a decision ends it."""
        return self.duration is None

    def seconds(self) -> int | None:
        """Whole seconds; None: indefinite. Raises ValueError for text that is no number and no Go duration."""
        if self.duration is None or isinstance(self.duration, int):
            return self.duration
        text = self.duration
        if len(text) <= 11 and text.isascii() and text.removeprefix("-").removeprefix("+").isdigit():
            seconds = int(text)
        else:
            whole = parse_go_duration(text)
            seconds = int(whole.total_seconds())
        if abs(seconds) > _LONGEST_PAUSE:
            raise ValueError(f"a pause of {text[:40]!r} is too long")
        return seconds


class SetCanaryScale(Model):
    """Sizes the canary apart from its traffic; exactly one is set."""

    weight: Int32 | None = None
    replicas: Int32 | None = None
    match_traffic_weight: Bool = False


class StringMatch(Model):
    """How text must match; exactly one is set."""

    exact: str = ""
    prefix: str = ""
    regex: str = ""


class HeaderRoutingMatch(Model):
    """A header that routes a request to the canary."""

    header_name: str = Field("", json_schema_extra=REQUIRED)
    header_value: StringMatch | None = Field(None, json_schema_extra=REQUIRED)


class SetHeaderRoute(Model):
    """Routes requests with these headers to the canary; no match removes the route."""

    name: str = ""
    match: tuple[HeaderRoutingMatch, ...] = ()


class RouteMatch(Model):
    """Requests that a mirror route copies."""

    method: StringMatch | None = None
    path: StringMatch | None = None
    headers: dict[str, StringMatch] = Field(default_factory=dict)


class SetMirrorRoute(Model):
    """Copies requests to the canary; no match removes the route."""

    name: str = Field("", json_schema_extra=REQUIRED)
    match: tuple[RouteMatch, ...] = ()
    percentage: Int32 | None = None


class TemplateMetadata(Model):
    """Labels and annotations of pods."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class TemplateService(Model):
    """The Service of an experiment's template."""

    name: str = ""


class RolloutExperimentTemplate(Model):
    """A ReplicaSet of an experiment step."""

    name: str = Field("", json_schema_extra=REQUIRED)
    spec_ref: str = Field("", json_schema_extra=REQUIRED)
    """``stable`` or ``canary``."""
    replicas: Int32 | None = None
    metadata: TemplateMetadata = Field(default_factory=TemplateMetadata)
    selector: LabelSelector | None = None
    weight: Int32 | None = None
    service: TemplateService | None = None


class RolloutExperimentStep(Model):
    """Runs an Experiment as a step (§19)."""

    templates: tuple[RolloutExperimentTemplate, ...] = ()
    duration: str = ""
    analyses: tuple[RolloutExperimentAnalysis, ...] = ()
    dry_run: tuple[DryRun, ...] = ()
    analysis_run_metadata: AnalysisRunMetadata = Field(default_factory=AnalysisRunMetadata)
    scale_down_delay_seconds: Int32 | None = None


class PluginStep(Model):
    """Runs a step plugin (§16)."""

    name: str = Field("", json_schema_extra=REQUIRED)
    config: AnyValue = None


StepKind = Literal[
    "setWeight",
    "pause",
    "experiment",
    "analysis",
    "setCanaryScale",
    "setHeaderRoute",
    "setMirrorRoute",
    "plugin",
    "invalid",
]


class CanaryStep(Model):
    """One step; exactly one field is set."""

    set_weight: Int32 | None = None
    pause: Pause | None = None
    experiment: RolloutExperimentStep | None = None
    analysis: RolloutAnalysis | None = None
    set_canary_scale: SetCanaryScale | None = None
    set_header_route: SetHeaderRoute | None = None
    set_mirror_route: SetMirrorRoute | None = None
    plugin: PluginStep | None = None

    @property
    def kind(self) -> StepKind:
        """Which kind of step it is; the first that is set, in the order of the fields."""
        kinds: tuple[tuple[StepKind, object], ...] = (
            ("setWeight", self.set_weight),
            ("pause", self.pause),
            ("experiment", self.experiment),
            ("analysis", self.analysis),
            ("setCanaryScale", self.set_canary_scale),
            ("setHeaderRoute", self.set_header_route),
            ("setMirrorRoute", self.set_mirror_route),
            ("plugin", self.plugin),
        )
        return next((kind for kind, value in kinds if value is not None), "invalid")

    @property
    def is_indefinite_pause(self) -> bool:
        """Whether it is a gate: a pause that only a decision ends."""
        return self.pause is not None and self.pause.indefinite

    def describe(self) -> str:  # noqa: PLR0911 one sentence a kind
        """The text that events and the CLI show (§2.5)."""
        match self.kind:
            case "setWeight":
                return f"setWeight: {self.set_weight}"
            case "pause":
                duration = self.pause.duration if self.pause else None
                return "pause" if duration is None else f"pause: {duration}"
            case "setCanaryScale":
                return f"setCanaryScale{{{_describe_scale(self.set_canary_scale)}}}"
            case "plugin":
                return f"plugin: {self.plugin.name if self.plugin else ''}"
            case "setHeaderRoute":
                return f"setHeaderRoute: {self.set_header_route.name if self.set_header_route else ''}"
            case "setMirrorRoute":
                return f"setMirrorRoute: {self.set_mirror_route.name if self.set_mirror_route else ''}"
            case other:
                return other


def _describe_scale(scale: SetCanaryScale | None) -> str:
    if scale is None:
        return ""
    if scale.weight is not None:
        return f"weight: {scale.weight}"
    return "matchTrafficWeight: true" if scale.match_traffic_weight else f"replicas: {scale.replicas}"
