"""Every input that the package reads, by name."""

from tests.fuzz import matlab_inputs, model_inputs, picture_inputs, record_inputs, text_inputs

__all__ = ["FORMATS"]

FORMATS = {
    **picture_inputs.FORMATS,
    **matlab_inputs.FORMATS,
    **record_inputs.FORMATS,
    **text_inputs.FORMATS,
    **model_inputs.FORMATS,
}
