# All of lddm from requirements.lock:
#   docker build --tag lddm .
#   docker run --rm --volume "$PWD:/work" lddm lddm animate still.png --out video.mp4
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 MLFLOW_DISABLE_TELEMETRY=true
WORKDIR /opt/lddm

# The packages are a layer of their own: they change seldom.
COPY requirements.lock ./
RUN python -m pip install --quiet --no-deps -r requirements.lock

COPY pyproject.toml requirements.in README.md LICENSE ./
COPY lddm ./lddm
RUN python -m pip install --quiet --no-deps --no-build-isolation .

# No entry point: Snakemake runs its own commands in the image.
RUN useradd --create-home lddm
USER lddm
WORKDIR /work
CMD ["lddm", "--help"]
