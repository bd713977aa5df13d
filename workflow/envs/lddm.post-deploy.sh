#!/usr/bin/env bash
# Snakemake runs this in the fresh environment, from the working directory; the pins above it are complete, hence --no-deps.
# In a checkout the package comes from there, editable, so that the code which runs is that of the checkout. In a deployment
# it comes from LDDM_SOURCE, e.g. git+URL@TAG.
set -euo pipefail
install=(python -m pip install --disable-pip-version-check --no-deps)
if grep -qs '^name = "lddm"' pyproject.toml; then
    "${install[@]}" --no-build-isolation -e .
elif [ -n "${LDDM_SOURCE:-}" ]; then
    "${install[@]}" --no-build-isolation "$LDDM_SOURCE"
elif ! python -c "import lddm"; then
    echo "Hint: run in the checkout, or set LDDM_SOURCE=git+URL@TAG, so that --use-conda finds the package lddm" >&2
    exit 1
fi
# facexlib (of pyiqa) brings opencv-python, whose files are those of opencv-python-headless but need libGL: keep one of them.
python -m pip uninstall --quiet --yes opencv-python opencv-python-headless
"${install[@]}" opencv-python-headless==5.0.0.93
