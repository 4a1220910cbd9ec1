# make demo: install, then fit the built-in scene. make check: install with the test extras, then lint, types, quick tests.
# make test: the same with all tests; those that take longest begin first.
# make wheel: a wheel in dist/. make system, system-test: the system's packages that Open3D and the tests of other compilers
# need, where this user may install them. make system-views: those that render procedural objects.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo check test sanitize wheel system system-test system-views install install-test lint types clean always

demo: install
	run=runs/demo-$$(date +%Y%m%d-%H%M%S) && \
	$(BIN)/polyfield fit --seconds 120 --out $$run && \
	$(BIN)/polyfield render $$run --path orbit --frames 40 --out $$run/renders/turntable.mp4

check: system install-test lint types
	$(BIN)/pytest -n 2 -m "not slow"

test: system system-test install-test lint types
	$(BIN)/pytest -n 2 -m "not slow"
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not alone"
	$(BIN)/pytest -m alone

system:
	ldconfig -p | grep -q libusb-1.0.so.0 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	apt-get -qq update && apt-get -qq install --yes --no-install-recommends libusb-1.0-0; } || \
	echo "libusb-1.0-0 is missing, which Open3D needs: install it (Debian: apt install libusb-1.0-0)"

system-test:
	{ command -v chromium && command -v clang++ && command -v aarch64-linux-gnu-g++ && command -v qemu-aarch64-static; } >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get -qq update && \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
	chromium clang libc++-dev libc++abi-dev g++-aarch64-linux-gnu qemu-user-static >/dev/null; } || \
	echo "chromium, clang, libc++, g++-aarch64-linux-gnu or qemu-user-static is missing: tests of browsers and other compilers are skipped"

# What pyrender draws the views of `python -m benchmarks.object_sets` with.
system-views:
	ldconfig -p | grep -q libEGL.so.1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	apt-get -qq update && apt-get -qq install --yes --no-install-recommends libegl1 libgl1-mesa-dri libgl1; } || \
	echo "libEGL is missing, which pyrender needs: install it (Debian: apt install libegl1 libgl1-mesa-dri)"

# The kernels' tests, in every instruction set, on a build that stops at a fault; `make test` has the most of them.
sanitize: install-test
	POLYFIELD_SANITIZE=all $(BIN)/pytest tests/test_sanitizers.py

# A wheel in dist/ that runs natively where no compiler is.
wheel: install
	rm -f dist/polyfield-*.whl
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	ls dist/polyfield-*-cp*.whl # not there if it did not compile

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-test
	$(BIN)/mypy

install: $(VENV)/installed
install-test: $(VENV)/installed-test

# torch first and alone: pip then keeps this build whatever the others ask for.
$(VENV)/torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet torch==2.13.0 -c constraints.txt
	touch $@

# The names of all modules: an editable install finds only those that it was made with.
$(VENV)/modules: $(VENV)/torch always
	@find -L src/polyfield -name '*.py' | sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(VENV)/installed: $(VENV)/torch $(VENV)/modules pyproject.toml CMakeLists.txt $(wildcard kernels/native/*)
	$(PIP) install --quiet -c constraints.txt "scikit-build-core>=0.11" "nanobind>=2.4"
	$(PIP) install --quiet -c constraints.txt --no-build-isolation --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) install --quiet -c constraints.txt --no-build-isolation --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build dist
