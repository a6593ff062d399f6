"""The one exception that reading a scene raises."""


class SceneError(ValueError):
    """A scene that cannot be used: the message names the file, the field, the value found and what was expected."""
