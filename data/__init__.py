"""Data: files -> scenes, pictures, meshes, clouds and volumes."""

from polyfield.data.camera_path import read_camera_path
from polyfield.data.readers import open_scene
from polyfield.data.scene import Scene

__all__ = ["Scene", "open_scene", "read_camera_path"]
