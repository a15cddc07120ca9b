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
RUN python -m venv /opt/venv
# Dependencies in a layer of their own: they change with these files, not with the code.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir server workers models \
    && /opt/venv/bin/pip install --no-cache-dir -c constraints.txt ".[server]"
COPY server server
COPY workers workers
COPY models models
COPY --from=page /src/server/static server/static
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --force-reinstall .

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
