"""Addresses and logins of a local stack's servers: URLs and DSNs with passwords in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from stack import valkey
from stack.credentials import Credentials
from stack.settings import HOST, StackSettings
from stack.topology import Port

DATABASE = "purser"
CLICKHOUSE_USER = "purser"
CLICKHOUSE_READER = "purser_reader"
CLICKHOUSE_DATABASE = "purser"
STRIPE_API_BASE = "https://api.stripe.com"
API_BASE, API_KEY = "PURSER_STRIPE_API_BASE", "PURSER_STRIPE_API_KEY"
SIMULATOR_WEBHOOK_URL = "PURSER_SIMULATOR_WEBHOOK_URL"
OUTSIDE = (
    "PURSER_REDIS_URL",
    "PURSER_JWT_ISSUER",
    "PURSER_JWT_AUDIENCE",
    "PURSER_JWKS_URL",
    "PURSER_JWKS_FILE",
    API_BASE,
    API_KEY,
    "PURSER_STRIPE_WEBHOOK_SECRET",
    SIMULATOR_WEBHOOK_URL,
)
"""Variables that take precedence over what a stack starts: one that must be alone has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """How to reach each server; what holds a password stays out of `repr`."""

    postgres_dsn: str = field(repr=False)  # purser_writer: appends and reads
    postgres_admin_dsn: str = field(repr=False)  # purser_owner: migrations
    postgres_reader_dsn: str = field(repr=False)  # purser_reader: verify
    postgres_cdc_dsn: str = field(repr=False)  # purser_cdc: what Debezium logs in as
    postgres_superuser_dsn: str = field(repr=False)  # the stack itself, and tests
    postgres_port: int
    kafka_bootstrap: str
    connect_url: str
    clickhouse_url: str = field(repr=False)  # purser: writes
    clickhouse_reader_url: str = field(repr=False)  # purser_reader: reads the views, for analysts
    clickhouse_ping_url: str
    worker_metrics_port: int
    api_url: str
    redis_url: str = field(repr=False)
    answers_secret: str = field(repr=False)
    keys_file: str
    simulator_url: str
    stripe_api_key: str = field(repr=False)
    stripe_webhook_secret: str = field(repr=False)
    cdc_password: str = field(repr=False)
    clickhouse_password: str = field(repr=False)
    clickhouse_reader_password: str = field(repr=False)

    @classmethod
    def of(cls, settings: StackSettings, credentials: Credentials) -> Self:
        """Put together where a stack answers; opens nothing."""
        postgres_port = settings.port(Port.POSTGRES)
        clickhouse = f"{HOST}:{settings.port(Port.CLICKHOUSE)}"
        clickhouse_password = credentials.clickhouse.get_secret_value()
        reader_password = credentials.clickhouse_reader.get_secret_value()

        def dsn(user: str, password: str, database: str = DATABASE) -> str:
            return f"postgresql://{user}:{password}@{HOST}:{postgres_port}/{database}"

        cdc_password = credentials.purser_cdc.get_secret_value()
        return cls(
            postgres_dsn=dsn("purser_writer", credentials.purser_writer.get_secret_value()),
            postgres_admin_dsn=dsn("purser_owner", credentials.purser_owner.get_secret_value()),
            postgres_reader_dsn=dsn("purser_reader", credentials.purser_reader.get_secret_value()),
            postgres_cdc_dsn=dsn("purser_cdc", cdc_password),
            postgres_superuser_dsn=dsn(
                "postgres", credentials.postgres_superuser.get_secret_value(), "postgres"
            ),
            postgres_port=postgres_port,
            kafka_bootstrap=f"{HOST}:{settings.port(Port.KAFKA)}",
            connect_url=f"http://{HOST}:{settings.port(Port.CONNECT)}",
            clickhouse_url=(
                f"http://{CLICKHOUSE_USER}:{clickhouse_password}@{clickhouse}/{CLICKHOUSE_DATABASE}"
            ),
            clickhouse_reader_url=(
                f"http://{CLICKHOUSE_READER}:{reader_password}@{clickhouse}/{CLICKHOUSE_DATABASE}"
            ),
            clickhouse_ping_url=f"http://{clickhouse}/ping",
            worker_metrics_port=settings.port(Port.WORKER_METRICS),
            api_url=f"http://{HOST}:{settings.port(Port.API)}",
            redis_url=valkey.url(settings, credentials),
            answers_secret=credentials.answers.get_secret_value(),
            keys_file=str(settings.home / "jwks.json"),
            simulator_url=f"http://{HOST}:{settings.port(Port.SIMULATOR)}",
            stripe_api_key=credentials.stripe_api_key.get_secret_value(),
            stripe_webhook_secret=credentials.stripe_webhook_secret.get_secret_value(),
            cdc_password=cdc_password,
            clickhouse_password=clickhouse_password,
            clickhouse_reader_password=reader_password,
        )

    def environment(self) -> dict[str, str]:
        """What `purser env` prints and what every process of ours gets."""
        return {
            "PURSER_POSTGRES_DSN": self.postgres_dsn,
            "PURSER_POSTGRES_ADMIN_DSN": self.postgres_admin_dsn,
            "PURSER_POSTGRES_READER_DSN": self.postgres_reader_dsn,
            "PURSER_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "PURSER_CONNECT_URL": self.connect_url,
            "PURSER_CLICKHOUSE_URL": self.clickhouse_url,
            "PURSER_CLICKHOUSE_READER_URL": self.clickhouse_reader_url,
            "PURSER_DEBEZIUM_DATABASE_HOST": HOST,
            "PURSER_DEBEZIUM_DATABASE_PORT": str(self.postgres_port),
            "PURSER_API_URL": self.api_url,
            "PURSER_ANSWERS_SECRET": self.answers_secret,
            "PURSER_SIMULATOR_URL": self.simulator_url,
        }

    def outside(self, given: Mapping[str, str]) -> dict[str, str]:
        """Addresses of what need not be local: those that are given, else what the stack starts.

        Whoever gives another issuer's keys gets no token of this stack accepted. Whoever gives the
        key of another account at Stripe, and no address, means Stripe itself.
        """
        local = {
            "PURSER_REDIS_URL": self.redis_url,
            "PURSER_JWT_ISSUER": self.api_url,
            "PURSER_JWT_AUDIENCE": "purser",
            "PURSER_JWKS_URL": f"{self.api_url}/.well-known/jwks.json",
            **self._stripe(),
        }
        url = "PURSER_JWKS_URL"
        if given.get(url, local[url]) == local[url]:  # also given by `eval "$(purser env)"`
            local["PURSER_JWKS_FILE"] = self.keys_file
        if given.get(API_KEY, self.stripe_api_key) != self.stripe_api_key:
            local[API_BASE] = STRIPE_API_BASE
            # `purser env` may have given it before: our simulator takes no key but its own.
            ours = (API_BASE, self.simulator_url)
            given = {name: value for name, value in given.items() if (name, value) != ours}
        return {name: given.get(name, value) for name, value in local.items()}

    def simulator(self, given: Mapping[str, str]) -> dict[str, str]:
        """What only the simulators get: their own secrets, never those of a real company.

        They tell our API of events, unless it works with the real Stripe.
        """
        told = dict(self._stripe_secrets())
        if all(given.get(name, value) == value for name, value in self._stripe().items()):
            told[SIMULATOR_WEBHOOK_URL] = f"{self.api_url}/webhooks/stripe"
        return told

    def _stripe(self) -> dict[str, str]:
        return {API_BASE: self.simulator_url, **self._stripe_secrets()}

    def _stripe_secrets(self) -> dict[str, str]:
        return {
            API_KEY: self.stripe_api_key,
            "PURSER_STRIPE_WEBHOOK_SECRET": self.stripe_webhook_secret,
        }
