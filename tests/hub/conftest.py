"""The hub's fixtures for the tests in this folder."""

from tests.hub.fixtures import hub, hub_env, hub_here, hub_process, hub_repositories

__all__ = ["hub", "hub_env", "hub_here", "hub_process", "hub_repositories"]
