"""Evaluating separators: protocols, metrics, reports."""

from typing import TYPE_CHECKING

from qsep.queries.lazy import lazy_exports

if TYPE_CHECKING:
    from .interface import Estimator, Item, ItemSet
    from .metrics.bss_eval import bss_eval
    from .metrics.sdr import leakage_db, sdr, si_sdr
    from .protocols import load_items, protocol_names
    from .run import evaluate

# Imported at first use, so that importing the package stays quick.
_EXPORTS = {
    "Estimator": ".interface",
    "Item": ".interface",
    "ItemSet": ".interface",
    "bss_eval": ".metrics.bss_eval",
    "leakage_db": ".metrics.sdr",
    "sdr": ".metrics.sdr",
    "si_sdr": ".metrics.sdr",
    "load_items": ".protocols",
    "protocol_names": ".protocols",
    "evaluate": ".run",
}
__all__ = [
    "Estimator",
    "Item",
    "ItemSet",
    "bss_eval",
    "evaluate",
    "leakage_db",
    "load_items",
    "protocol_names",
    "sdr",
    "si_sdr",
]

__getattr__ = lazy_exports(__name__, _EXPORTS)
