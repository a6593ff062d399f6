PYTHON ?= python3
build-native:
	cmake -S . -B build/dev -G Ninja -DUNER3D_CUDA=OFF -DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$(CURDIR)/uner3d -Dpybind11_DIR=$$($(PYTHON) -m pybind11 --cmakedir) -DPython_EXECUTABLE=$$(which $(PYTHON)) && cmake --build build/dev
