"""The sections of a report, in the order of its page."""

from collections.abc import Mapping

from charlm.inspection import (
    fixed_points,
    gradient_by_lag,
    impulse_response,
    loss_by_class,
    lyapunov,
    network,
    spectrum,
    surprise,
    units,
    usable_context,
)
from charlm.inspection.section import Section

_MODULES = (
    network,
    surprise,
    loss_by_class,
    usable_context,
    gradient_by_lag,
    impulse_response,
    spectrum,
    lyapunov,
    fixed_points,
    units,
)
SECTIONS: Mapping[str, Section] = {module.SECTION.name: module.SECTION for module in _MODULES}
"""Each section by its name."""
