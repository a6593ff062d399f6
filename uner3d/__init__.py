"""Posed photos to dense RGB point clouds at any density, without 3D supervision."""

__version__ = "0.1.0"
