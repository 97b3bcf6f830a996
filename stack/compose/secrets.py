"""Print generated passwords as a `.env` file for Docker Compose: run once, keep the file private.

    python3 -m stack.compose.secrets > .env

Uses the standard library only, so that it runs before anything is installed.
"""

import secrets
import sys

PASSWORD_BYTES = 24
VARIABLES = (
    "PURSER_POSTGRES_SUPERUSER_PASSWORD",
    "PURSER_OWNER_PASSWORD",
    "PURSER_WRITER_PASSWORD",
    "PURSER_CDC_PASSWORD",
    "PURSER_READER_PASSWORD",
    "PURSER_CLICKHOUSE_PASSWORD",
    "PURSER_CLICKHOUSE_READER_PASSWORD",
    "PURSER_VALKEY_PASSWORD",
    "PURSER_ANSWERS_PASSWORD",
    "PURSER_STRIPE_API_PASSWORD",
    "PURSER_STRIPE_WEBHOOK_PASSWORD",
)


def dotenv() -> str:
    """One `NAME=password` line for each password that docker-compose.yml asks for."""
    # token_urlsafe needs no quoting in a URL, a shell or a .env file.
    return "".join(f"{name}={secrets.token_urlsafe(PASSWORD_BYTES)}\n" for name in VARIABLES)


if __name__ == "__main__":
    sys.stdout.write(dotenv())
