"""Where a metric's values come from: one model a provider (docs/behaviour.md §18)."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from gitops_rollouts.api.meta import REQUIRED, AnyObject, AnyValue, Bool, Int64, IntOrText, Model


class Header(Model):
    """A header of a request."""

    key: str = Field("", json_schema_extra=REQUIRED)
    value: str = Field("", json_schema_extra=REQUIRED)


class BasicAuth(Model):
    """A name and a password; both usually come from a Secret by way of an argument."""

    username: str = ""
    password: str = ""


class OAuth2(Model):
    """The client-credentials grant."""

    token_url: str = ""
    client_id: str = ""
    client_secret: str = ""
    scopes: tuple[str, ...] = ()


class Sigv4(Model):
    """AWS' request signatures, for its managed Prometheus."""

    region: str = ""
    profile: str = ""
    role_arn: str = ""


class Authentication(Model):
    """How to identify ourselves; at most one is set."""

    basic_auth: BasicAuth = Field(default_factory=BasicAuth)
    oauth2: OAuth2 = Field(default_factory=OAuth2)
    sigv4: Sigv4 = Field(default_factory=Sigv4)


class RangeQuery(Model):
    """A span of time. ``start`` and ``end`` are expressions such as ``now() - duration("1h")``."""

    start: str = ""
    end: str = ""
    step: str = ""


class PrometheusMetric(Model):
    """A query of Prometheus."""

    address: str = ""
    query: str = ""
    authentication: Authentication = Field(default_factory=Authentication)
    timeout: Int64 | None = None
    insecure: Bool = False
    headers: tuple[Header, ...] = ()
    range_query: RangeQuery | None = None


class JobMetadata(Model):
    """Labels and annotations of the Job."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class JobMetric(Model):
    """A Job whose success is the metric's."""

    metadata: JobMetadata = Field(default_factory=JobMetadata)
    spec: AnyObject = Field(default_factory=dict, json_schema_extra=REQUIRED)
    """A JobSpec."""


class WebMetric(Model):
    """A request to any server that answers with JSON or text."""

    method: str = ""
    url: str = Field("", json_schema_extra=REQUIRED)
    headers: tuple[Header, ...] = ()
    body: str = ""
    json_body: AnyValue = None
    timeout_seconds: Int64 = 0
    json_path: str = ""
    insecure: Bool = False
    authentication: Authentication = Field(default_factory=Authentication)


class SecretRef(Model):
    """A Secret; in the AnalysisRun's namespace if ``namespaced``, else in the controller's."""

    name: str = ""
    namespaced: Bool = False


DATADOG_AGGREGATORS: Final = ("avg", "min", "max", "sum", "last", "percentile", "mean", "l2norm", "area")


class DatadogMetric(Model):
    """A query of Datadog."""

    interval: str = Field("", json_schema_extra={"x-default": "5m"})
    request_timeout: str = Field("", json_schema_extra={"x-default": "10s"})
    query: str = ""
    queries: dict[str, str] = Field(default_factory=dict)
    formula: str = ""
    api_version: str = Field("", json_schema_extra={"x-default": "v1", "enum": ["v1", "v2"]})
    """``v1`` (unless set) or ``v2``."""
    aggregator: str = Field("", json_schema_extra={"enum": list(DATADOG_AGGREGATORS)})
    secret_ref: SecretRef = Field(default_factory=SecretRef)


class NewRelicMetric(Model):
    """A NRQL query of New Relic."""

    profile: str = ""
    query: str = Field("", json_schema_extra=REQUIRED)
    timeout: Int64 | None = None


class WavefrontMetric(Model):
    """A query of Wavefront."""

    address: str = ""
    query: str = ""


class GraphiteMetric(Model):
    """A query of Graphite's render API."""

    address: str = ""
    query: str = ""


class InfluxdbMetric(Model):
    """A Flux query of InfluxDB."""

    profile: str = ""
    query: str = ""


class SkyWalkingMetric(Model):
    """A GraphQL query of SkyWalking."""

    address: str = ""
    query: str = ""
    interval: str = ""


class CloudWatchDimension(Model):
    """A dimension of a CloudWatch metric."""

    name: str = ""
    value: str = ""


class CloudWatchStatMetric(Model):
    """Which CloudWatch metric."""

    dimensions: tuple[CloudWatchDimension, ...] = ()
    metric_name: str = ""
    namespace: str | None = None


class CloudWatchStat(Model):
    """A statistic of a CloudWatch metric."""

    metric: CloudWatchStatMetric = Field(default_factory=CloudWatchStatMetric)
    period: IntOrText | None = None
    stat: str = ""
    unit: str = ""


class CloudWatchQuery(Model):
    """An entry of GetMetricData."""

    id: str = ""
    expression: str | None = None
    label: str | None = None
    metric_stat: CloudWatchStat | None = None
    period: IntOrText | None = None
    return_data: Bool | None = None


class CloudWatchMetric(Model):
    """Metrics of AWS CloudWatch."""

    interval: str = ""
    metric_data_queries: tuple[CloudWatchQuery, ...] = Field((), json_schema_extra=REQUIRED)


class KayentaScopeDetail(Model):
    """A side of a Kayenta scope."""

    scope: str = Field("", json_schema_extra=REQUIRED)
    region: str = Field("", json_schema_extra=REQUIRED)
    step: Int64 = Field(0, json_schema_extra=REQUIRED)
    start: str = Field("", json_schema_extra=REQUIRED)
    end: str = Field("", json_schema_extra=REQUIRED)


class KayentaScope(Model):
    """What Kayenta compares."""

    name: str = Field("", json_schema_extra=REQUIRED)
    control_scope: KayentaScopeDetail = Field(default_factory=KayentaScopeDetail, json_schema_extra=REQUIRED)
    experiment_scope: KayentaScopeDetail = Field(default_factory=KayentaScopeDetail, json_schema_extra=REQUIRED)


class KayentaThreshold(Model):
    """Scores that pass and that are marginal."""

    pass_: Int64 = Field(0, alias="pass", json_schema_extra=REQUIRED)
    marginal: Int64 = Field(0, json_schema_extra=REQUIRED)


class KayentaMetric(Model):
    """A judgement of Spinnaker's Kayenta."""

    address: str = Field("", json_schema_extra=REQUIRED)
    application: str = Field("", json_schema_extra=REQUIRED)
    canary_config_name: str = Field("", json_schema_extra=REQUIRED)
    metrics_account_name: str = Field("", json_schema_extra=REQUIRED)
    configuration_account_name: str = Field("", json_schema_extra=REQUIRED)
    storage_account_name: str = Field("", json_schema_extra=REQUIRED)
    threshold: KayentaThreshold = Field(default_factory=KayentaThreshold, json_schema_extra=REQUIRED)
    scopes: tuple[KayentaScope, ...] = Field((), json_schema_extra=REQUIRED)
    lookback: Bool = False


class MetricProvider(Model):
    """Exactly one is set."""

    prometheus: PrometheusMetric | None = None
    kayenta: KayentaMetric | None = None
    web: WebMetric | None = None
    datadog: DatadogMetric | None = None
    wavefront: WavefrontMetric | None = None
    new_relic: NewRelicMetric | None = None
    job: JobMetric | None = None
    cloud_watch: CloudWatchMetric | None = None
    graphite: GraphiteMetric | None = None
    influxdb: InfluxdbMetric | None = None
    skywalking: SkyWalkingMetric | None = None
    plugin: dict[str, AnyValue] = Field(default_factory=dict)
    """A map of exactly one plugin's name to its configuration."""

    @property
    def named(self) -> tuple[str, ...]:
        """The keys that are set, as they are written."""
        kinds = (
            ("prometheus", self.prometheus),
            ("kayenta", self.kayenta),
            ("web", self.web),
            ("datadog", self.datadog),
            ("wavefront", self.wavefront),
            ("newRelic", self.new_relic),
            ("job", self.job),
            ("cloudWatch", self.cloud_watch),
            ("graphite", self.graphite),
            ("influxdb", self.influxdb),
            ("skywalking", self.skywalking),
            ("plugin", self.plugin or None),
        )
        return tuple(kind for kind, value in kinds if value is not None)
