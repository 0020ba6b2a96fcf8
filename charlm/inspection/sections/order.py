"""All sections, in the order in which a page tells them: what was built, what it predicts, what it remembers, how."""

from charlm.inspection.sections import dynamics, learning, memory, text

SECTIONS = (
    learning.NETWORK,
    learning.CURVES,
    text.SURPRISE,
    learning.LOSS,
    learning.CALIBRATION,
    memory.GRADIENT,
    memory.TRUNCATION,
    memory.CONTEXT,
    memory.IMPULSE,
    memory.MEMORY,
    text.EDIT,
    dynamics.SPECTRUM,
    dynamics.LYAPUNOV,
    dynamics.FIXED_POINTS,
    text.UNITS,
    dynamics.SATURATION,
    dynamics.TRAJECTORY,
    dynamics.CHARACTER_MAP,
)
