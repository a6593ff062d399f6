"""Published protocols of view synthesis: which objects, source and target views, sizes and metrics, and their run."""

from .published import Item, Protocol, protocol
from .run import Predict, Predictor, run_protocol, table

__all__ = ["Item", "Predict", "Predictor", "Protocol", "protocol", "run_protocol", "table"]
