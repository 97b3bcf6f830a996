"""What holds for every test."""

from hypothesis import HealthCheck, settings

# A busy machine is no finding: examples may take their time.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
