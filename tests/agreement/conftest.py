import importlib.util
import os

import pytest

CUDA = []
if importlib.util.find_spec("triton"):
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before the kernels are imported
    CUDA.append("cuda")
    from triton.runtime import interpreter

    def once(patch):
        """Triton 3.6 patches its language at every call within a kernel, which takes much of its time: once will do."""
        scopes = {}

        def patched(fn):
            languages = frozenset(
                id(value)
                for value in fn.__globals__.values()
                if value in (interpreter.tl, interpreter.tl.core)
            )
            if languages in scopes:
                return interpreter._LangPatchScope()
            outermost, scope = not scopes, patch(fn)
            scopes[languages] = scope.restore
            if outermost:
                scope.restore = restore
            return scope

        def restore():
            while scopes:
                scopes.popitem()[1]()

        return patched

    interpreter._patch_lang = once(interpreter._patch_lang)

from polyfield.kernels.dispatch import built

if built("native"):
    from polyfield import _core
    from polyfield.kernels import native  # noqa: F401  # now, for it takes POLYFIELD_ISA when it is imported

    NATIVE = [f"native-{name}" for name in _core.instruction_sets()]
else:
    NATIVE = []


def in_use(name: str, monkeypatch):
    """A form, such as reference, native-avx2 or cuda-float16, until the test ends."""
    kernels, _, variant = name.partition("-")
    monkeypatch.setenv("POLYFIELD_KERNELS", kernels)
    if kernels != "native":
        monkeypatch.setenv("POLYFIELD_PRECISION", variant or "float16")
        yield name
        return
    before = _core.instruction_set()
    assert _core.use(variant)
    yield name
    _core.use(before)
    _core.set_threads(0)


@pytest.fixture(params=["reference", *NATIVE, *CUDA])
def form(request, monkeypatch):
    """Each form that runs here: the native one in every instruction set of this CPU, Triton's interpreted."""
    yield from in_use(request.param, monkeypatch)


@pytest.fixture(params=[*NATIVE, *CUDA])
def fast_form(request, monkeypatch):
    """Each form but the reference."""
    yield from in_use(request.param, monkeypatch)


# bfloat16 products are wrong in the interpreter.
@pytest.fixture(params=[*NATIVE, *(f"{name}-{kind}" for name in CUDA for kind in ("float32", "float16"))])
def fused_form(request, monkeypatch):
    """Each form, and precision, that has fields as one kernel."""
    yield from in_use(request.param, monkeypatch)


@pytest.fixture(params=[*NATIVE, *(f"{name}-float32" for name in CUDA)])
def exact_form(request, monkeypatch):
    """The same, but on GPUs in single precision alone: the interpreter takes its time."""
    yield from in_use(request.param, monkeypatch)


@pytest.fixture(params=NATIVE)
def native_form(request, monkeypatch):
    """The native form in every instruction set of this CPU."""
    yield from in_use(request.param, monkeypatch)
