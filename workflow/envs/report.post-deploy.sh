#!/usr/bin/env bash
# Snakemake runs this in the fresh environment, from the working directory. Editable, so that the code which runs is
# that of the checkout; the pins above it are complete, hence --no-deps.
set -euo pipefail
if [ ! -f pyproject.toml ]; then
    echo "Hint: --use-conda needs the checkout as working directory, or lddm installed into $CONDA_PREFIX by hand" >&2
    exit 1
fi
python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
