"""Traffic routers as a Rollout names them (docs/behaviour.md §2.6)."""

from __future__ import annotations

from pydantic import Field

from gitops_rollouts.api.meta import REQUIRED, AnyValue, Bool, Int32, Int64, Model


class StickinessConfig(Model):
    """Target-group stickiness of an AWS load balancer."""

    enabled: Bool = Field(False, json_schema_extra=REQUIRED)
    duration_seconds: Int64 = Field(0, json_schema_extra=REQUIRED)


class AlbTrafficRouting(Model):
    """AWS load balancer, by annotations of an Ingress."""

    ingress: str = ""
    ingresses: tuple[str, ...] = ()
    service_port: Int32 = Field(0, json_schema_extra=REQUIRED)
    root_service: str = ""
    annotation_prefix: str = ""
    stickiness_config: StickinessConfig | None = None


class NginxTrafficRouting(Model):
    """ingress-nginx, by a second Ingress."""

    stable_ingress: str = ""
    stable_ingresses: tuple[str, ...] = ()
    annotation_prefix: str = ""
    additional_ingress_annotations: dict[str, str] = Field(default_factory=dict)
    canary_ingress_annotations: dict[str, str] = Field(default_factory=dict)


class TlsRoute(Model):
    """A TLS route of an Istio VirtualService."""

    port: Int64 = 0
    sni_hosts: tuple[str, ...] = ()


class TcpRoute(Model):
    """A TCP route of an Istio VirtualService."""

    port: Int64 = 0


class IstioVirtualService(Model):
    """The VirtualService whose routes are weighted. No routes named: it has exactly one."""

    name: str = Field("", json_schema_extra=REQUIRED)
    routes: tuple[str, ...] = ()
    tls_routes: tuple[TlsRoute, ...] = ()
    tcp_routes: tuple[TcpRoute, ...] = ()


class IstioDestinationRule(Model):
    """Subsets that stand for the canary and the stable version."""

    name: str = Field("", json_schema_extra=REQUIRED)
    canary_subset_name: str = Field("", json_schema_extra=REQUIRED)
    stable_subset_name: str = Field("", json_schema_extra=REQUIRED)
    additional_subset_names: tuple[str, ...] = ()


class IstioTrafficRouting(Model):
    """Istio, by hosts or by subsets."""

    virtual_service: IstioVirtualService | None = None
    virtual_services: tuple[IstioVirtualService, ...] = ()
    destination_rule: IstioDestinationRule | None = None


class SmiTrafficRouting(Model):
    """A Service Mesh Interface TrafficSplit."""

    root_service: str = ""
    traffic_split_name: str = ""


class AmbassadorTrafficRouting(Model):
    """Ambassador mappings."""

    mappings: tuple[str, ...] = Field((), json_schema_extra=REQUIRED)


class AppMeshVirtualService(Model):
    """An App Mesh virtual service and its routes."""

    name: str = Field("", json_schema_extra=REQUIRED)
    routes: tuple[str, ...] = ()


class AppMeshVirtualNodeReference(Model):
    """An App Mesh virtual node."""

    name: str = Field("", json_schema_extra=REQUIRED)


class AppMeshVirtualNodeGroup(Model):
    """The virtual nodes of the canary and the stable version."""

    canary_virtual_node_ref: AppMeshVirtualNodeReference | None = Field(None, json_schema_extra=REQUIRED)
    stable_virtual_node_ref: AppMeshVirtualNodeReference | None = Field(None, json_schema_extra=REQUIRED)


class AppMeshTrafficRouting(Model):
    """AWS App Mesh."""

    virtual_service: AppMeshVirtualService | None = None
    virtual_node_group: AppMeshVirtualNodeGroup | None = None


class TraefikTrafficRouting(Model):
    """A TraefikService with weights."""

    weighted_traefik_service_name: str = Field("", json_schema_extra=REQUIRED)


class ApisixRoute(Model):
    """An ApisixRoute and the rules in it. No rules named: the one with its own name."""

    name: str = Field("", json_schema_extra=REQUIRED)
    rules: tuple[str, ...] = ()


class ApisixTrafficRouting(Model):
    """Apache APISIX."""

    route: ApisixRoute | None = None


class ManagedRoute(Model):
    """A route that steps may set; the order of the list is the precedence."""

    name: str = Field("", json_schema_extra=REQUIRED)


class TrafficRouting(Model):
    """The routers of a canary; several may be combined."""

    istio: IstioTrafficRouting | None = None
    nginx: NginxTrafficRouting | None = None
    alb: AlbTrafficRouting | None = None
    smi: SmiTrafficRouting | None = None
    ambassador: AmbassadorTrafficRouting | None = None
    app_mesh: AppMeshTrafficRouting | None = None
    traefik: TraefikTrafficRouting | None = None
    apisix: ApisixTrafficRouting | None = None
    plugins: dict[str, AnyValue] = Field(default_factory=dict)
    managed_routes: tuple[ManagedRoute, ...] = ()
    max_traffic_weight: Int32 | None = None

    @property
    def has_routers(self) -> bool:
        """Whether any router is named."""
        built_in = (
            self.istio,
            self.nginx,
            self.alb,
            self.smi,
            self.ambassador,
            self.app_mesh,
            self.traefik,
            self.apisix,
        )
        return bool(self.plugins) or any(router is not None for router in built_in)

    @property
    def max_weight(self) -> int:
        """The weight that means all traffic (100 unless set)."""
        return 100 if self.max_traffic_weight is None else self.max_traffic_weight
