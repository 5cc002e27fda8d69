"""Tests of echoactor; they run under pytest and under trial."""

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("echoactor", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("echoactor")
