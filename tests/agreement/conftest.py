import pytest

from polyfield.kernels.dispatch import FORMS


@pytest.fixture(params=[name for name, (_, devices) in FORMS.items() if "cpu" in devices])
def form(request, monkeypatch) -> str:
    """Each form that runs on the CPU, in use while the test runs."""
    monkeypatch.setenv("POLYFIELD_KERNELS", request.param)
    return request.param
