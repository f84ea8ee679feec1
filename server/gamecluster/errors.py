"""The package's base error. Subclasses say whose fault it is: the configuration's, the peer's, the player's."""


class GameClusterError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigurationError(GameClusterError):
    """What the user configured can't work; the text says what would."""
