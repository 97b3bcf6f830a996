"""Make the key that signs tokens, and publish its public half.

`python -m stack.compose.token_keys` runs before the API, in the folder PURSER_HOME that both share.
A key that is there stays.
"""

from schemas.runtime import entry_point
from stack.credentials import Credentials
from stack.layout import Home
from stack.settings import StackSettings
from stack.tokens import write_keys


@entry_point
def main() -> None:
    """Make what is missing."""
    home = Home(StackSettings.load().home)
    home.create()
    write_keys(home, Credentials.read_or_create(home))


if __name__ == "__main__":
    main()
