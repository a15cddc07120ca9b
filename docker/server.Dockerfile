# The gateway: HTTP, the job records and the page. Without torch.
#   docker build -f docker/server.Dockerfile -t ldiffusion-server .
# An image's digest goes behind its tag: --build-arg BASE=python:3.11.14-slim-bookworm@sha256:…; see docs/deploy.md.
ARG BASE=python:3.11.14-slim-bookworm
ARG NODE=node:22.21.1-bookworm-slim

# The page is built here, as `make viewer` does it; nothing of node is in the image.
FROM ${NODE} AS page
WORKDIR /src/viewer
COPY viewer/package.json viewer/package-lock.json ./
RUN npm ci --no-audit --no-fund --ignore-scripts
COPY viewer ./
RUN npm run build

FROM ${BASE} AS build
WORKDIR /src
# Every file that pip takes has one of the hashes in docker/*.lock. In a layer of its own: it changes with these files,
# not with the code.
COPY docker/build.lock docker/server.lock docker/
RUN python -m venv /opt/build && python -m venv /opt/venv \
    && /opt/build/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r docker/build.lock \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r docker/server.lock
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY workers workers
COPY models models
COPY --from=page /src/server/static server/static
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/dist . \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --no-index /opt/dist/*.whl

FROM ${BASE}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin ldiffusion \
    && install -d -o ldiffusion -g ldiffusion /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LDIFFUSION_DATA_DIR=/data \
    LDIFFUSION_HOST=0.0.0.0 \
    LDIFFUSION_PORT=8000 \
    LDIFFUSION_WORKERS=0
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["ldiffusion", "serve"]
