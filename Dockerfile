# The image of `gor run`: slim Python, the locked wheels, git and an SSH client; kubectl comes with a wheel, boto3 for AWS too.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/build.lock requirements/runtime.lock requirements/
RUN python -m venv /opt/gor \
    && /opt/gor/bin/pip install --require-hashes --only-binary :all: -r requirements/runtime.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY gitops_rollouts gitops_rollouts
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/gor/bin/pip install --no-deps --no-index --find-links /wheels gitops-rollouts \
    && /opt/gor/bin/python -m compileall -q /opt/gor/lib \
    && /opt/gor/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim-bookworm
# Debian serves only the newest point release of a package: a pinned version stops building within weeks.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git gpg gpg-agent openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 gor \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/gitops-rollouts --create-home --shell /usr/sbin/nologin gor
COPY --from=build /opt/gor /opt/gor
ENV PATH=/opt/gor/bin:$PATH \
    HOME=/var/lib/gitops-rollouts \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/gitops-rollouts
VOLUME ["/var/lib/gitops-rollouts"]
EXPOSE 8090
ENTRYPOINT ["gor"]
CMD ["run"]
