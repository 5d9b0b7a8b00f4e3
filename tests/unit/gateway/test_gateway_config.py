"""The gateway's configuration and its knowledge of who serves what."""

import pytest

from mistudio_gateway.backends import backend_of, forwarded_services
from mistudio_gateway.config import GatewayConfig
from mistudio_servicekit.config import ConfigError, Environment


def test_the_defaults_listen_on_this_machine_only():
    config = GatewayConfig.read(Environment({}))
    assert config.server.listen == "127.0.0.1:50050"
    assert config.server.metrics_listen == "127.0.0.1:8080"


def test_a_wrong_value_names_its_variable():
    with pytest.raises(ConfigError, match="MISTUDIO_HTTP_LISTEN"):
        GatewayConfig.read(Environment({"MISTUDIO_HTTP_LISTEN": "nowhere"}))


def test_every_domain_package_has_its_backend_and_nothing_else_is_forwarded():
    assert backend_of("mistudio.datasets.v1.DatasetsService") == "datasets"
    for package in ("models.v1", "models.v2", "extractions.v1", "trainings.v1"):
        assert backend_of(f"mistudio.{package}.Service") == "models"
    for name in ("mistudio.jobs.v1.JobsService", "grpc.health.v1.Health", "mistudio.datasetsx.v1.Service"):
        assert backend_of(name) is None
    names = {service.full_name for service in forwarded_services()}
    assert {"mistudio.datasets.v1.TokenizationsService", "mistudio.models.v2.ModelsService"} <= names
