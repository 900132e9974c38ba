# `make` alone lists the commands. Everything installs itself: Python 3.11+, make and PyPI are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# pip compiles on one core. Some packages hold files for other versions of Python, which are none of ours to report.
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
DATA ?= .welip
KOBEST ?=

.DEFAULT_GOAL := help
.PHONY: help demo models eval-env training-env worker-model up test lint check lock audit format docs fuzz faults bench-batches bench-generate bench-evaluate bench-jobs bench-peers bench-questions bench-retrieval bench-streams bench-train kafka minio mlflow clean

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("WeLIP needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# Everything comes from PyPI by its hash, and nothing is resolved again; then WeLIP itself, from here.
# What runs the embedded stack. No torch.
$(VENV)/.run: pyproject.toml requirements/run.txt | $(VENV)/bin/python
	@echo "installing WeLIP (about a minute the first time)"
	@$(PIP) install --no-compile --require-hashes -r requirements/run.txt
	@$(COMPILE)
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

# What checks and tests it.
$(VENV)/.dev: pyproject.toml requirements/dev.txt | $(VENV)/bin/python
	@echo "installing WeLIP and its development tools (about a minute the first time)"
	@$(PIP) install --no-compile --require-hashes -r requirements/dev.txt
	@$(COMPILE)
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $(VENV)/.run $@

demo: $(VENV)/.run ## index Korean documents, ask questions, show the answers; MODEL=small: with a small real model (7 GB)
	@test -z "$(MODEL)" || test "$(MODEL)" = small || { echo "there is one model for the demo: make demo MODEL=small"; exit 2; }
	@$(BIN)/python -m producers.client.demo$(if $(MODEL),_small)

models: $(VENV)/.run ## fetch two small real models into ~/.cache/welip: SmolLM2-135M-Instruct and multilingual-e5-small (7 GB, 5 minutes)
	@$(BIN)/python -m infra.local.models

eval-env: $(VENV)/.run ## make the environment of lm-evaluation-harness, for benchmarks of models (1 GB, 1 minute)
	@$(BIN)/python -m infra.local.harness

training-env: $(VENV)/.run ## make the environment that training runs in, beside that of model engines (7 GB, 4 minutes)
	@$(BIN)/python -m infra.local.training

worker-model: $(VENV)/.run ## run a worker of models (vLLM, transformers) from an environment of its own: ARGS='--model NAME'
	@$(BIN)/python -m infra.local.engines > /dev/null
	@PYTHONPATH=. exec "$$($(BIN)/python -m infra.local.engines)" -m consumers $(or $(ARGS),--pool gpu)

up: $(VENV)/.run ## run everything here until Ctrl-C; data in .welip (DATA=...)
	@$(BIN)/welip up --data $(DATA)

lint: $(VENV)/.dev ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint ## those of `lint`, and unit tests
	@$(BIN)/python -m pytest tests/unit -q

test: $(VENV)/.dev ## every test; what needs Java, Maven, Go or torch is skipped where they are missing, and says so
	@$(BIN)/python -m pytest tests

faults: $(VENV)/.dev ## kill, freeze, cut off and starve every part under load (20 minutes; Java 17+ and Maven): ONLY=1,4 for some of it
	@$(BIN)/python -m tests.faults $(if $(ONLY),--only $(ONLY))

LOCK = $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-annotate --quiet \
	--constraints constraints.txt --custom-compile-command 'make lock' --output-file
lock: $(VENV)/bin/python ## write requirements/ anew, after a change of pyproject.toml or constraints.txt
	@$(PIP) install uv==0.13.8
	@$(LOCK) requirements/run.txt --extra cpu --extra embedded --group build
	@$(LOCK) requirements/dev.txt --extra dev --group build
	@$(LOCK) requirements/images.txt --extra gateway --extra otel --extra cpu --extra dense --extra gpu --extra train

audit: $(VENV)/.dev ## the pinned packages against known vulnerabilities; fails where nobody can be asked
	@$(BIN)/python .ci/audit.py $(AUDIT)

format: $(VENV)/.dev ## format the code and mend what lint can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.dev ## renew the generated parts of docs/
	@$(BIN)/python -m schemas.diagram docs/lifecycle.md docs/flow.md

fuzz: $(VENV)/.dev ## send many random requests, made from the OpenAPI document, to a separate stack
	@FUZZ_EXAMPLES=200 $(BIN)/python -m pytest tests/e2e/test_openapi_fuzz.py

bench-evaluate: $(VENV)/.dev ## evaluations and batches: speed, a judge, kill -9 of everything, fairness (12 minutes; LINES=... for fewer): KOBEST=folder with train.tsv; last line JSON
	@test -n "$(KOBEST)" || { echo "give the folder: make bench-evaluate KOBEST=path/to/kobest-boolq"; exit 2; }
	@$(BIN)/python -m benchmarks.evaluate '$(KOBEST)' $(if $(LINES),--lines $(LINES)) $(if $(JUDGED),--judged $(JUDGED)) $(if $(KILLED),--killed $(KILLED))

bench-jobs: $(VENV)/.dev ## measure WeLIP itself with no-op jobs; last line JSON
	@$(BIN)/python -m benchmarks.jobs

bench-batches: $(VENV)/.dev ## a batch of 50,000 no-op lines beside the drain of plain jobs, and a flood beside others (LINES=... FLOOD=...); last line JSON
	@$(BIN)/python -m benchmarks.batches $(if $(LINES),--lines $(LINES)) $(if $(FLOOD),--flood $(FLOOD))

bench-peers: $(VENV)/.dev ## WeLIP beside Celery, Dramatiq, Taskiq, arq, RQ, Procrastinate and pgqueuer (half an hour); last line JSON
	@$(BIN)/python -m benchmarks.peers $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-questions: $(VENV)/.dev ## index a corpus and ask questions on both brokers: KOBEST=folder with train.tsv and dev.tsv
	@test -n "$(KOBEST)" || { echo "give the folder: make bench-questions KOBEST=path/to/kobest-boolq"; exit 2; }
	@$(BIN)/python -m benchmarks.questions --corpus $(KOBEST)/train.tsv --questions $(KOBEST)/dev.tsv

bench-streams: $(VENV)/.dev ## how late readers see 64 answers that are being written, and what a killed gateway costs them; last line JSON
	@$(BIN)/python -m benchmarks.streams

bench-generate: $(VENV)/.dev ## generation through WeLIP beside the same vLLM driven straight (MODEL=tiny, smollm2, 8b-dummy for a GPU; 8 minutes); last line JSON
	@$(BIN)/python -m benchmarks.generate $(if $(MODEL),--model '$(MODEL)') $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(ENGINES),--python '$(ENGINES)')

bench-retrieval: $(VENV)/.dev ## how well and how fast documents are found: DATA=folder [ARMS=...] [PARTS=...] [MODEL=...]; last line JSON
	@test "$(origin DATA)" != file || { echo "give the folder: make bench-retrieval DATA=path/to/kobest-boolq"; exit 2; }
	@$(BIN)/python -m benchmarks.retrieval '$(DATA)' $(if $(ARMS),--arms $(ARMS)) $(if $(PARTS),--parts $(PARTS)) $(if $(MODEL),--model '$(MODEL)')

bench-train: $(VENV)/.dev ## training as a job beside TRL alone, with checkpoints, killed workers and ten house rules (10 min, 7 GB); last line JSON
	@$(BIN)/python -m benchmarks.train $(if $(STEPS),--steps $(STEPS)) $(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(PARTS),--parts $(PARTS))

kafka: $(VENV)/.dev ## run Apache Kafka here without containers (needs Java 17+ and Maven the first time)
	@$(BIN)/python -m infra.local.kafka --data $(DATA)/kafka

mlflow: $(VENV)/.run ## install MLflow once, in an environment of its own (1 GB), and run it here; `make up` runs it too from then on
	@$(BIN)/python -m infra.local.mlflow --data $(DATA)/mlflow

minio: $(VENV)/.dev ## run MinIO here without containers (needs Go the first time)
	@$(BIN)/python -m infra.local.minio --data $(DATA)/minio

clean: ## remove the virtual environment and caches; not the data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
