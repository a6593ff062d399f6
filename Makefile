# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt constraints.txt $(shell find csrc uner3d -type f ! -name '*.so' ! -name '*.pyc' 2>/dev/null)

.PHONY: demo test lint bench build-native clean

demo: $(VENV)/.installed
	$(BIN)/uner3d synth --output out/demo/scene --n-train 24 --n-test 4 --width 320 --height 240 --supersampling 2 --n-points 60000 --overwrite
	$(BIN)/uner3d reconstruct out/demo/scene -o out/demo --minutes 3 --overwrite

test: $(VENV)/.tested
	$(BIN)/pytest

# The package is installed, not run from the checkout, so that the tests see what a user gets; with the tools of the
# tests at once, since installing it twice would compile it twice.
$(VENV)/.installed: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[dev]'
	touch $@

# Open3D serves the geometry tests against meshes alone; they skip with a reason where it cannot be had.
$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt open3d || true
	$(BIN)/python -c 'import open3d' 2>/dev/null || echo "Open3D cannot be imported: its tests will skip. On Debian it needs: apt-get install libusb-1.0-0 libgomp1 libgl1"
	touch $@

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

bench: $(VENV)/.tested
	$(BIN)/python -m benchmarks.run

# For development: kernels built in place beside the sources, without CUDA.
build-native:
	cmake -S . -B build/dev -G Ninja -DUNER3D_CUDA=OFF -DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$(CURDIR)/uner3d \
		-Dpybind11_DIR=$$($(PYTHON) -m pybind11 --cmakedir) -DPython_EXECUTABLE=$$(which $(PYTHON))
	cmake --build build/dev

clean:
	rm -rf build $(VENV) out
