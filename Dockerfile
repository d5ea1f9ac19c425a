# The image of Signalbox: the command in a venv of its own, and what the steps that run in it expect.
# Two targets: the last one, with git, curl, make and ssh; `slim`, with git's one binary that the
# commit is read with (no clone, no fetch, no submodules).
#
# The base is pinned. Its digest is that of an index for several platforms and was taken from other
# projects that pin it, not from the registry; a release looks up the current one, builds on it
# (BASE_IMAGE) and notes it in the label org.opencontainers.image.base.digest.
ARG BASE_IMAGE=debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

FROM ${BASE_IMAGE} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends bash ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*
ENV LANG=C.UTF-8 PYTHONUNBUFFERED=1
# No USER: GitHub's runner asks for root, and everything works under any uid given by --user.
ARG VERSION=dev REVISION= CREATED= SOURCE= BASE_NAME= BASE_DIGEST=
LABEL org.opencontainers.image.title="Signalbox" \
      org.opencontainers.image.description="Runs declared commands as steps of jobs and reports them to Datadog CI Visibility." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE_NAME}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"

FROM base AS tools
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl git make openssh-client \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*

FROM base AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
# pip has a venv of its own, so that none of it reaches the image.
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/venv
WORKDIR /build
# A directory wheels/ beside this file and --build-arg PIP_NO_INDEX=1 install without an index.
COPY requirements/run.txt wheel[s] ./
ARG PIP_NO_INDEX
# Compiled here: without .pyc files every start costs 180 ms more. Unchecked hashes: no file in the
# image changes, so none is looked at again, and two builds give the same bytes.
RUN /pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile \
        --require-hashes --only-binary :all: --find-links . -r run.txt \
    && site=$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash "$site" \
    && echo /opt/signalbox > "$site/signalbox.pth"
# The venv is not on PATH: python3 and pip are the steps' own. The command alone is.
RUN printf '#!/bin/bash\nexec /opt/venv/bin/python -I -m runner "$@"\n' > /opt/venv/bin/signalbox \
    && chmod 0755 /opt/venv/bin/signalbox
# Beside the venv: a change of ours builds nothing else anew.
COPY runner /opt/signalbox/runner
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/signalbox

FROM base AS slim
COPY --from=tools /usr/bin/git /usr/bin/git
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/venv/bin/signalbox /usr/local/bin/signalbox
COPY --from=build /opt/signalbox /opt/signalbox
COPY LICENSE entrypoint.sh post-entrypoint.sh /
ENTRYPOINT ["/entrypoint.sh"]

FROM tools AS default
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/venv/bin/signalbox /usr/local/bin/signalbox
COPY --from=build /opt/signalbox /opt/signalbox
COPY LICENSE entrypoint.sh post-entrypoint.sh /
ENTRYPOINT ["/entrypoint.sh"]
