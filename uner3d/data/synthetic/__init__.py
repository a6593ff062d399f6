"""Scenes with exact truth: textured shapes, sphere-traced to posed photos.

>>> from uner3d.data.synthetic import generate_scene
>>> generate_scene("out/totem", "totem", n_train=24, width=200, height=150)  # doctest: +SKIP
>>> run_many(ManyOptions(Path("out/set"), many=100))  # doctest: +SKIP
"""

from uner3d.data.synthetic.generate import SynthOptions, generate_scene, run
from uner3d.data.synthetic.many import run_many
from uner3d.data.synthetic.many_options import ManyOptions
from uner3d.data.synthetic.shapes import SHAPE_NAMES

__all__ = ["SHAPE_NAMES", "ManyOptions", "SynthOptions", "generate_scene", "run", "run_many"]
