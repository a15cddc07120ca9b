# A worker: torch, the models, the stages from slide to result.
#   GPU: docker build -f docker/worker.Dockerfile -t ldiffusion-worker:gpu .
#   CPU: docker build -f docker/worker.Dockerfile -t ldiffusion-worker:cpu \
#          --build-arg BASE=ubuntu:24.04 --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
ARG BASE=nvidia/cuda:13.0.3-base-ubuntu24.04

FROM ${BASE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Every file that pip takes has one of the hashes in docker/*.lock, but for torch of another index than PyPI, whose
# files have other hashes: PyPI's torch is the CUDA build, the CPU index holds the same version for the CPU.
ARG TORCH_INDEX=https://pypi.org/simple
COPY constraints.txt ./
COPY docker/build.lock docker/worker.lock docker/torch.lock docker/
RUN python3 -m venv /opt/build && python3 -m venv /opt/venv \
    && /opt/build/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r docker/build.lock \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r docker/worker.lock \
    && if [ "${TORCH_INDEX}" = https://pypi.org/simple ]; \
       then /opt/venv/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r docker/torch.lock; \
       else /opt/venv/bin/pip install --no-cache-dir --no-deps --only-binary :all: -c constraints.txt \
            --index-url "${TORCH_INDEX}" torch torchvision; \
       fi
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY workers workers
COPY models models
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/dist . \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --no-index /opt/dist/*.whl

FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin ldiffusion \
    && install -d -o ldiffusion -g ldiffusion /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LDIFFUSION_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
# Whether this container reaches the queue and a worker gives signs of life there.
HEALTHCHECK --interval=30s --timeout=15s --start-period=90s --retries=3 \
    CMD ["python", "-c", "from workers.core.queue.jobs import Jobs; from workers.core.settings import Settings; s = Settings(); raise SystemExit(Jobs(s.redis_url, s).workers() == 0)"]
CMD ["python", "-m", "workers"]
