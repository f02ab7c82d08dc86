# The SEPO reproducibility kit. `make` alone lists what can be made.
#
#   make reproduce                          the default run: a small model, five games, no GPU, no downloads
#   make reproduce PROFILE=smoke            the same notebooks in a few minutes
#   make reproduce GAMES=ipd,kuhn SEEDS=1,2 a part of it, as a run of its own: laptop-ipd-kuhn-seeds-1-2

PROFILE ?=#         smoke, laptop, smollm2, gpu, study or paper (sepo_lib/config/profiles.yaml); laptop by default
MODEL   ?=#         nano, smollm2, a folder, or a hub id such as org/name
SEEDS   ?=#         training seeds, such as 11,12,13
GAMES   ?=#         games, such as ipd,kuhn, or all; by default those of the profile
STEPS   ?=#         training steps of SFT and SEPO
SFT_DATA ?=#        a file or folder of chat examples for SFT, in the place of the demonstrations (docs/data.md)
SET     ?=#         other hyperparameters, such as "sft_learning_rate=2e-4 sepo_steps.kuhn=60" (python -m sepo_lib profiles)
RUN     ?=#         the name of the run; by default it is made of the profile and the options above
REPORT_TO ?=#       tensorboard, wandb or trackio: where the trainers send their metrics; none by default
REUSE   ?=#         yes: use finished jobs of older code or libraries, and say so in the results
EXECUTOR  ?=#       processes (the default); notebook: one job at a time in its process; dask (docs/scaling.md)
SCHEDULER ?=#       EXECUTOR=dask: the address of the scheduler, such as tcp://host:8786
JOBS_PER_GPU ?=#    jobs at a time on each GPU of this machine; by default the setting workers
AGAINST ?=#         verify: the run to compare with
KILLS   ?=#         torture: the number of kills
DATA    ?=#         audit: a file or folder of chat examples; the kit's demonstrations by default
OUT     ?=#         audit: a .csv file for the whole table
WHAT    ?=#         push: demonstrations, or the folder of a job or of a model
TO      ?=#         push: the repository on the hub, such as org/name
BASE    ?=#         push: the repository of the base model of an adapter, where that is a folder here
DRY_RUN ?=#         push: yes lists what would be pushed, and pushes nothing

# ----------------------------------------------------------------------------------------- options
#
# A value is taken as it is: make does not expand it, and the shell reads it from the environment. An option
# that the target does not have is an error. Variables of the environment are passed on.

GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))

override OF_RUNS := PROFILE MODEL SEEDS GAMES STEPS SFT_DATA SET RUN REUSE REPORT_TO EXECUTOR SCHEDULER JOBS_PER_GPU
override OPTIONS := $(OF_RUNS) AGAINST KILLS DATA OUT WHAT TO BASE DRY_RUN

USES_reproduce := $(OF_RUNS)
USES_train     := $(OF_RUNS)
USES_study     := $(filter-out PROFILE,$(OF_RUNS))
USES_torture   := PROFILE GAMES KILLS
USES_lab       := LAB
USES_figures   := PROFILE RUN
USES_notebooks := PROFILE RUN
USES_document  := PROFILE RUN
USES_verify    := PROFILE RUN AGAINST
USES_remeasure := PROFILE RUN
USES_bench     := MODEL
USES_audit     := DATA OUT
USES_push      := WHAT TO BASE DRY_RUN
USES_lock      := LOCK
USES_help      := $(OPTIONS)

ifeq ($(MAKELEVEL),0)
GOALS   := $(or $(MAKECMDGOALS),help)
USED    := $(foreach goal,$(GOALS),$(USES_$(goal))) PYTHON
PASSED  := SEPO_% HF_% TRANSFORMERS_% TOKENIZERS_% TORCH_% PYTORCH_% CUDA_% NCCL_% VLLM_% ACCELERATE_% OMP_% MKL_% ATEN_% \
           PYTHON% JUPYTER_% IPYTHON% PIP_% UV_% CONDA_% XDG_% SSL_% %_proxy %_PROXY HOME TMPDIR PATH SHELL BROWSER \
           DISPLAY WAYLAND_DISPLAY LANG LC_% MAKE%
UNUSED  := $(firstword $(filter-out $(USED) $(PASSED),$(GIVEN)))
ifneq ($(UNUSED),)
$(error make $(GOALS) has no option $(UNUSED); its options are $(USED))
endif
endif

$(foreach option,$(OPTIONS),$(eval override $(option) := $$(value $(option))))
export $(OPTIONS)

# ------------------------------------------------------------------------------------------ Python
#
# In this order: PYTHON=..., an interpreter that has the packages; an active conda environment that has
# them (conda env create -f environment.yml); else .venv, which `make env` makes from requirements.lock.

ifeq ($(OS),Windows_NT)
$(error The kit runs on Linux and macOS, not on native Windows: use WSL 2)
endif
ifneq ($(findstring :,$(CURDIR)),)
$(error Python cannot work in a folder whose path has a colon, which separates paths: rename $(CURDIR))
endif

CONDA_KIT := $(if $(CONDA_PREFIX),$(wildcard $(CONDA_PREFIX)/lib/python3*/site-packages/trl))
ifeq ($(origin PYTHON),undefined)
  ifneq ($(CONDA_KIT),)
    PYTHON := $(CONDA_PREFIX)/bin/python
  else
    PYTHON := .venv/bin/python
    STAMP  := .venv/requirements.lock
    ifneq ($(shell test -x .venv/bin/python && echo it runs),it runs)
      .PHONY: $(STAMP)#  the Python that .venv was made from is gone
    endif
  endif
endif

# ------------------------------------------------------------------------------------- environment

export TOKENIZERS_PARALLELISM ?= false
export OMP_WAIT_POLICY ?= PASSIVE
unexport PYTHONDONTWRITEBYTECODE#  the packages are compiled when they are first imported, and once

# Of a user without a home folder. sepo_lib/config/caches.py does the rest if it is not writable.
export HOME ?= $(CURDIR)/.cache/home

# Only a hub id (org/name, and no folder of that name) needs a model hub; so does the profile paper.
HUB_ID := $(if $(findstring /,$(MODEL)),$(if $(wildcard $(MODEL)),,$(MODEL)))
ifeq ($(HUB_ID)$(if $(MODEL),,$(filter paper,$(PROFILE))),)
export HF_HUB_OFFLINE ?= 1
export TRANSFORMERS_OFFLINE ?= 1
endif

# JupyterLab: root has to be allowed, a machine without a screen has no browser, and a model that is chosen in
# a notebook may be one of the hub's.
ALLOW_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
BROWSES    := $(or $(BROWSER),$(DISPLAY),$(WAYLAND_DISPLAY),$(filter Darwin,$(shell uname)))
ONLINE     := $(if $(filter file,$(origin HF_HUB_OFFLINE)),env -u HF_HUB_OFFLINE -u TRANSFORMERS_OFFLINE)

LOCKED = uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --custom-compile-command 'make lock' $(LOCK)

KIT  := exec env SEPO_MAKE=$$PPID $(PYTHON) -m sepo_lib# it gets the signals of make, and ends with it
CODE := sepo_lib tests notebooks docs
DOCS := .cache/docs

# ----------------------------------------------------------------------------------------- targets

.DEFAULT_GOAL := help
.PHONY: help env reproduce train study test torture lab figures notebooks document verify remeasure bench audit push docs lock clean

# Of the commands that train, but for the profile.
TRAINS = --run="$$RUN" --model="$$MODEL" --games="$$GAMES" --seeds="$$SEEDS" --steps="$$STEPS" --sft-data="$$SFT_DATA" --set="$$SET" \
         --reuse="$$REUSE" --report-to="$$REPORT_TO" --executor="$$EXECUTOR" --scheduler="$$SCHEDULER" \
         --jobs-per-gpu="$$JOBS_PER_GPU"

reproduce: env  ## Run every notebook: tables, figures, verdicts and a report
	@$(KIT) reproduce --profile="$$PROFILE" $(TRAINS)

train: env  ## SFT and SEPO alone: prints what the model learned and where it is
	@$(KIT) train --profile="$$PROFILE" $(TRAINS)

study: env  ## Run the large studies behind docs/ESTIMATORS.md (about four and a half hours; stop and go on at any time)
	@$(KIT) reproduce --profile=study $(TRAINS)

test: env  ## Check style, import contracts and types, then run the tests
	@$(PYTHON) -m ruff check $(CODE)
	@$(PYTHON) -m ruff format --check $(CODE)
	@$(PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache --no-logo
	@$(PYTHON) -m mypy
	@$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

torture: env  ## Kill runs at random moments, resume them, and compare all results (KILLS=14)
	@exec $(PYTHON) tests/torture.py --profile="$${PROFILE:-smoke}" --games="$$GAMES" $${KILLS:+--kills="$$KILLS"}

lab: env  ## Open the notebooks in JupyterLab (LAB='--port=9000' passes options on)
	@echo 'JupyterLab $(if $(BROWSES),opens notebooks/ in your browser,serves notebooks/ at the address below). Press Ctrl-C twice to stop it.'
	@PYTHONPATH="$$PWD$${PYTHONPATH:+:$$PYTHONPATH}" $(ONLINE) $(PYTHON) -m sepo_lib.config.caches jupyterlab --notebook-dir=notebooks \
	  --log-level=WARN --LabApp.log_level=WARN $(if $(BROWSES),,--no-browser) $(ALLOW_ROOT) $(LAB)

figures: env  ## Draw every figure again from the tables, without training
notebooks: env  ## Write the outputs of a finished run into notebooks/ and README.md
document: env  ## Write the numbers of a run into README and docs/
remeasure: env  ## Make tables, claims, figures and documents again from a run's records
figures notebooks document remeasure:
	@$(KIT) $@ --profile="$$PROFILE" --run="$$RUN"

verify: env  ## Check a run against its manifest, or AGAINST=<run> against another run
	@$(KIT) verify --profile="$$PROFILE" --run="$$RUN" --against="$$AGAINST"

bench: env  ## Measure the speed of play and training (MODEL=nano or smollm2; default both)
	@export OMP_NUM_THREADS=1 KINETO_LOG_LEVEL=99; $(KIT) bench --model="$$MODEL"

audit: env  ## Audit chat examples: duplicates, refused answers, reasons that contradict the state (DATA=, OUT=)
	@$(KIT) audit --data="$$DATA" --out="$$OUT"

push: env  ## Push demonstrations, an adapter or a model to a hub (WHAT= TO=org/name; DRY_RUN=yes only lists them)
	@exec env SEPO_MAKE=$$PPID $(ONLINE) $(PYTHON) -m sepo_lib push --what="$$WHAT" --to="$$TO" --base="$$BASE" --dry-run="$$DRY_RUN"

docs: $(DOCS)/requirements-docs.lock  ## Build the documentation site in docs/_build/html; nothing is executed
	@rm -rf docs/_api
	@$(DOCS)/bin/python -m sphinx -E -W --keep-going -q -c docs . docs/_build/html
	@echo 'The site is docs/_build/html/index.html.'

env: $(STAMP)  ## Set up Python and the pinned packages, if they are not there
	@:

lock:  ## Write the lock files again from pyproject.toml, with uv (LOCK=--upgrade takes new versions)
	@command -v uv >/dev/null || { echo 'error: make lock needs uv: pip install uv.' >&2; exit 2; }
	@$(LOCKED) --extra notebooks --group dev pyproject.toml -o requirements.lock
	@$(LOCKED) --group docs -o requirements-docs.lock

clean:  ## Remove what runs have made, except what git holds
	@$(FIND_PYTHON); $$python -m sepo_lib.run.clean

help:  ## Show this list
	@echo 'make <target> [PROFILE=laptop] [MODEL=] [SEEDS=] [GAMES=] [STEPS=] [SFT_DATA=] [SET=] [RUN=] [REUSE=yes] \
	[REPORT_TO=] [EXECUTOR=notebook] [EXECUTOR=dask SCHEDULER=] [JOBS_PER_GPU=]'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A supported Python, which makes the environment (sepo_lib/config/environment.py). Where none is found, uv brings one.
define FIND_PYTHON
for python in python3.11 python3.12 python3.13 python3.14 python3 none; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && break; \
done; \
if [ $$python = none ] && command -v uv >/dev/null; then \
  python=$$(uv python find '>=3.11,<3.15' 2>/dev/null || { uv python install --quiet 3.11 && uv python find 3.11; }) || python=none; \
fi; \
if [ "$$python" = none ]; then \
  echo 'error: Python 3.11 to 3.14 is needed, and none was found: install one, or uv, which brings its own.' >&2; exit 1; \
fi
endef

# .venv keeps a copy of the lock that it was made from: while the two are the same there is nothing to do.
.venv/requirements.lock: requirements.lock
	@if cmp -s $< $@ && .venv/bin/python -c '' 2>/dev/null; then touch $@; exit 0; fi; \
	$(FIND_PYTHON); "$$python" -I sepo_lib/config/environment.py .venv $< --kit

# The site has a place of its own: it needs neither torch nor the kit's packages.
$(DOCS)/requirements-docs.lock: requirements-docs.lock
	@$(FIND_PYTHON); "$$python" -I sepo_lib/config/environment.py $(DOCS) $<
