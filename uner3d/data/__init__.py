"""Posed photos: `load_scene` reads any of the supported formats into a `Scene` of `View`s with `Camera`s."""

from .load import load_scene
from .scene import Camera, Scene, SceneError, View

__all__ = ["Camera", "Scene", "SceneError", "View", "load_scene"]
